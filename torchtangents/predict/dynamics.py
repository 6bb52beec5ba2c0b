"""One training run in function space: which solver takes it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .descent import descend
from .evolve import evolve, gain, growth
from .gram import Gram
from .learning_rate import diverged, stable_rate
from .objective import Loss, gradient_of
from .ode import flow_by_ode
from .outputs import Outputs
from .path import Path
from .swing import SwingGain, SwingVelocity, TimesEigenvalue


class Dynamics(NamedTuple):
    """Training of outputs as rows (R, C), R and C as in `Outputs`, towards `y` (R, C), float64."""

    gram: Gram
    outputs: Outputs
    y: Tensor
    loss: Loss
    learning_rate: float
    momentum: float
    method: str
    rtol: float
    atol: float

    def path(self, times: Tensor, start: Tensor, velocity: Tensor | None) -> Path:
        """The solution at `times` (T,), from `start` (R, C) and its velocity; None is at rest."""
        if self.loss != "mse" or velocity is not None or (self.momentum and self.method == "descent"):
            path = self._integrate(times, start, velocity)
        elif self.momentum:
            path = self._swing(times, start)
        else:
            error, step = self.y - start, None if self.method == "flow" else self.learning_rate / self.y.numel()
            s = times * (self.learning_rate / self.y.numel()) if step is None else times
            path = Path(start + growth(self.gram, s, error, step), gain(self.gram, s, error, step))
        if not bool(torch.isfinite(path.fx.detach()).all()):
            raise self._diverged()
        return path

    def limit(self, start: Tensor) -> Path:
        """Infinite time, where f = y, whatever the way there."""
        if self.loss != "mse":
            raise ValueError(
                f't=None: only loss="mse" has a known limit (on cross-entropy, outputs may grow without end), got {self.loss!r}: '
                "pass finite times, and watch the loss at them."
            )
        if self.method == "descent" and self.learning_rate >= stable_rate(self.gram, self.y.numel(), self.momentum):
            raise self._diverged()
        return Path(self.y[None], self.gram.solve(self.y - start)[None])

    def _swing(self, times: Tensor, start: Tensor) -> Path:
        unit = math.sqrt(self.learning_rate)
        friction, u, error = (1 - self.momentum) / unit, times * unit, self.y - start
        grow, move = SwingGain(friction, self.y.numel()), SwingVelocity(friction, self.y.numel())
        return Path(
            start + evolve(TimesEigenvalue(grow), self.gram, u, error),
            evolve(grow, self.gram, u, error),
            evolve(TimesEigenvalue(move), self.gram, u, error),
            evolve(move, self.gram, u, error),
            -torch.expm1(-friction * u) / friction,
            torch.exp(-friction * u),
        )

    def _integrate(self, times: Tensor, start: Tensor, velocity: Tensor | None) -> Path:
        self.gram.require_semidefinite()
        k, shaped, rows = self.gram.matrix, self.outputs.shaped, self.outputs.rows
        if self.momentum and velocity is None:
            velocity = torch.zeros_like(start)
        slope = gradient_of(self.loss, shaped(self.y))
        parts = (k, self.y, times, start, *(() if velocity is None else (velocity,)))
        tracked = torch.is_grad_enabled() and any(part.requires_grad for part in parts)

        def gradient(f: Tensor) -> Tensor:
            return rows(slope(shaped(f)))

        with torch.set_grad_enabled(tracked):
            if self.method == "descent":
                return descend(k, gradient, start, velocity, times, self.learning_rate, self.momentum)
            unit = math.sqrt(self.learning_rate) if self.momentum else self.learning_rate
            friction = (1 - self.momentum) / unit
            return flow_by_ode(k, gradient, start, velocity, times * unit, friction, self.rtol, self.atol)

    def _diverged(self) -> ArithmeticError:
        limit = stable_rate(self.gram, self.y.numel(), self.momentum) if self.loss == "mse" else None
        return diverged(self.learning_rate, limit)
