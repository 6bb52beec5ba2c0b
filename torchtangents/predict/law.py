"""The Gaussian law of an ensemble at given times, from the kernels of one network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .check import require_times
from .gram import Gram
from .inputs import Inputs, require_inputs
from .learning_rate import diverged, stable_rate
from .moments import ensemble_mean, gp_covariance, ntk_covariance
from .network import NetworkKernels


class Clock(NamedTuple):
    """Times as `moments` takes them: s (T,), or None at infinity; and the shape of the times asked for."""

    s: Tensor | None
    shape: tuple[int, ...]

    def each(self) -> list[Tensor | None]:
        """Each time on its own, (1,)."""
        return [None] if self.s is None else list(self.s[:, None])


class Law(NamedTuple):
    """Mean and covariance over time; `kernel` and `method` as in `Ensemble`, y (N, O) in float64."""

    kernels: NetworkKernels
    gram: Gram
    y: Tensor
    kernel: str
    learning_rate: float
    method: str

    @property
    def step(self) -> float | None:
        """The step of one mode under gradient descent, None in continuous time."""
        return self.learning_rate / self.y.numel() if self.method == "descent" else None

    def clock(self, t: float | Tensor | None) -> Clock:
        """The times `t`, checked; a limit that gradient descent does not reach is refused."""
        times = require_times(t, self.y.device, steps=self.method == "descent")
        if times is None:
            limit = stable_rate(self.gram, self.y.numel()) if self.method == "descent" else math.inf
            if self.learning_rate >= limit:
                raise diverged(self.learning_rate, limit)
            return Clock(None, ())
        return Clock(times.reshape(-1) * (self.learning_rate / self.y.numel() if self.step is None else 1.0), tuple(times.shape))

    def mean(self, clock: Clock, x: Inputs | None) -> Tensor:
        """(T, M, O) at the points `x`, or the training points."""
        cross = None
        if x is not None:
            pair = self.kernels.cross(require_inputs("x_test", x))
            cross = (pair.nngp if self.kernel == "nngp" else pair.ntk).double()  # (M, N)
        mean = ensemble_mean(self.gram, clock.s, self.y, cross, self.step)
        if not bool(torch.isfinite(mean.detach()).all()):
            raise diverged(self.learning_rate, stable_rate(self.gram, self.y.numel()))
        return mean

    def covariance(self, x: Inputs | None, form: str) -> Callable[[Tensor | None], Tensor]:
        """The covariance, "full" or "diagonal", as a function of one time (1,)."""
        nngp_cross = ntk_cross = nngp_prior = ntk_prior = None
        if x is not None:
            nngp_cross, ntk_cross = (k.double() for k in self.kernels.cross(x))
            nngp_prior, ntk_prior = (k.double() for k in self.kernels.prior(x, form))
        diagonal = form == "diagonal"
        if self.kernel == "ntk":
            nngp = self.kernels.train.nngp.double()
            return lambda s: ntk_covariance(self.gram, nngp, s, ntk_cross, nngp_cross, nngp_prior, diagonal, self.step)
        if self.kernel == "nngp":
            return lambda s: gp_covariance(self.gram, s, nngp_cross, nngp_prior, diagonal, self.step)
        return lambda s: gp_covariance(self.gram, s, ntk_cross, ntk_prior, diagonal, self.step)
