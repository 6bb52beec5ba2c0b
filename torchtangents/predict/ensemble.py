"""Ensembles of infinitely wide networks at any time of their training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .check import require_choice, require_number, require_targets, require_times
from .gram import Gram
from .inputs import Inputs, count, require_inputs
from .loss import ensemble_loss
from .moments import ensemble_mean, gp_covariance, ntk_covariance
from .network import NetworkKernels
from .prediction import Loss, Prediction

KERNELS = ("ntk", "nngp", "ntkgp")


class Ensemble:
    """The Gaussian law of infinitely wide networks, drawn at random, at any time of their training by gradient flow.

    With s = learning_rate t / y.size, K the NNGP, T the NTK, * the test points, and Q the kernel that drives the
    training plus diag_reg times the mean of its diagonal:

    - "ntk", all layers trained: mean B y, covariance K** + B K B' - (B K*' + K* B'), B = T* Q^-1 (I - e^{-Qs});
    - "nngp", only the last layer trained (at infinity the Bayesian posterior): mean K* Q^-1 (I - e^{-Qs}) y,
      covariance K** - K* Q^-1 (I - e^{-2Qs}) K*';
    - "ntkgp", randomised priors added so that the limit is the posterior of T: as "nngp", with T for K.

    Args:
        net: a network of `torchtangents.nn` layers; one kernel entry for each pair of inputs, Gaussian outputs.
        x_train: inputs (N, ...), or a tuple of forward's arguments.
        y_train: (N,) or (N, O) targets, of the kernels' dtype.
        kernel: "ntk", "nngp" or "ntkgp".
        learning_rate: step size of gradient descent on 1/2 mean((f - y)^2); t counts steps.
        diag_reg: regulariser relative to the mean of the kernel's diagonal.
        tile, progress, backend, devices: as in `torchtangents.kernels`.

    Raises:
        UnsupportedError: the network leaves positions at its output, or has outputs that are not Gaussian.
        TypeError, ValueError: an unknown kernel, sizes, dtypes or devices that do not fit, NaN.

    Lee et al. 2019 (arXiv 1902.06720); He, Lakshminarayanan and Teh 2020 (arXiv 2007.05864) for "ntkgp".

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 512), tt.nn.ReLU(), tt.nn.Linear(512, 1))
        >>> x, y = torch.eye(3), torch.tensor([1., -1., 0.])
        >>> ensemble = tt.predict.Ensemble(net, x, y)
        >>> mean, covariance = ensemble.at(t=100., x_test=torch.ones(5, 3))
        >>> mean.shape, covariance.shape
        (torch.Size([5]), torch.Size([5, 5]))
        >>> ensemble.at(t=None).mean
        tensor([ 1., -1.,  0.])
    """

    def __init__(
        self,
        net: nn.Module,
        x_train: Inputs,
        y_train: Tensor,
        *,
        kernel: str = "ntk",
        learning_rate: float = 1.0,
        diag_reg: float = 0.0,
        tile: int | None = None,
        progress: bool | None = None,
        backend: str = "auto",
        devices: object = None,
    ):
        require_choice("kernel", kernel, KERNELS)
        self.kernel = kernel
        self.learning_rate = require_number("learning_rate", learning_rate, positive=True)
        diag_reg = require_number("diag_reg", diag_reg)
        options = {"tile": tile, "progress": progress, "backend": backend, "devices": devices}
        self.kernels = NetworkKernels(net, x_train, options)
        driving = self.kernels.train.nngp if kernel == "nngp" else self.kernels.train.ntk
        self.y_train = require_targets(y_train, driving, k_name="the kernel").clone()
        self.gram = Gram(driving, diag_reg)
        self._y = self.y_train.double().reshape(self.gram.size, -1)  # (N, O)

    def at(self, t: float | Tensor | None = None, x_test: Inputs | None = None, covariance: str | None = "full") -> Prediction:
        """Mean and covariance of the outputs at training time `t`.

        Kernels of the test points are kept: asking again for the same tensors at another time costs no kernel.

        Args:
            t: training time in steps, a number or a tensor whose shape T leads the results; None is infinity.
            x_test: test inputs (M, ...); None is the training points, where the regulariser is part of the kernel and
                infinite time returns y_train without variance. Pass x_train for the regularised prediction there.
            covariance: "full" (*T, M, M), "diagonal" (*T, M), or None for none.

        Raises:
            SingularKernelError: infinite time and a singular kernel; names a `diag_reg` that works.
            TypeError, ValueError: a negative or infinite time, an unknown `covariance`.
        """
        require_choice("covariance", covariance, ("full", "diagonal", None))
        times, s = self._times(t)
        lead = () if times is None else tuple(times.shape)
        mean = self._mean(s, x_test)  # (T, M, O)
        mean = mean.reshape(*lead, mean.shape[1], *self.y_train.shape[1:]).to(self.gram.dtype)
        if covariance is None:
            return Prediction(mean, None)
        at_time = self._covariance(x_test, covariance)
        stacked = torch.stack([at_time(each) for each in _each(s)])  # (T, M, M) or (T, M)
        return Prediction(mean, stacked.reshape(*lead, *stacked.shape[1:]).to(self.gram.dtype))

    def loss(self, t: float | Tensor | None = None, x: Inputs | None = None, y: Tensor | None = None) -> Loss:
        """Mean and standard deviation, over the ensemble, of the loss 1/2 mean((f - y)^2) at training time `t`.

        Args:
            t: as in `at`; its shape is that of both results.
            x, y: test inputs and targets, (M,) or (M, O); None is the training points.

        Raises:
            ValueError: one of `x` and `y` without the other, sizes that do not fit; as `at` otherwise.
        """
        if (x is None) != (y is None):
            raise ValueError("loss: expected both x and y, or neither for the training loss, got one of them.")
        times, s = self._times(t)
        target = self._y
        if x is not None and y is not None:
            cross = self.kernels.cross(require_inputs("x", x)).nngp
            y = require_targets(y, cross, "y", "the kernel")
            if y.shape[1:] != self.y_train.shape[1:]:
                raise ValueError(f"y: expected outputs as y_train {tuple(self.y_train.shape)}, got {tuple(y.shape)}.")
            target = y.double().reshape(count(x), -1)  # (M, O)
        mean, at_time = self._mean(s, x), self._covariance(x, "full")
        losses = [ensemble_loss(m, at_time(each), target) for m, each in zip(mean, _each(s), strict=True)]
        shape = () if times is None else tuple(times.shape)
        parts = (torch.stack(part).reshape(shape).to(self.gram.dtype) for part in zip(*losses, strict=True))
        return Loss(*parts)

    def _times(self, t: float | Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        times = require_times(t, self._y.device)
        return times, None if times is None else times.reshape(-1) * (self.learning_rate / self._y.numel())

    def _mean(self, s: Tensor | None, x: Inputs | None) -> Tensor:
        cross = None
        if x is not None:
            pair = self.kernels.cross(require_inputs("x_test", x))
            cross = (pair.nngp if self.kernel == "nngp" else pair.ntk).double()  # (M, N)
        return ensemble_mean(self.gram, s, self._y, cross)

    def _covariance(self, x: Inputs | None, form: str) -> Callable[[Tensor | None], Tensor]:
        """The covariance in that form as a function of one time."""
        nngp_cross = ntk_cross = nngp_prior = ntk_prior = None
        if x is not None:
            nngp_cross, ntk_cross = (k.double() for k in self.kernels.cross(x))
            nngp_prior, ntk_prior = (k.double() for k in self.kernels.prior(x, form))
        diagonal = form == "diagonal"
        if self.kernel == "ntk":
            nngp = self.kernels.train.nngp.double()
            return lambda s: ntk_covariance(self.gram, nngp, s, ntk_cross, nngp_cross, nngp_prior, diagonal)
        if self.kernel == "nngp":
            return lambda s: gp_covariance(self.gram, s, nngp_cross, nngp_prior, diagonal)
        return lambda s: gp_covariance(self.gram, s, ntk_cross, ntk_prior, diagonal)


def _each(s: Tensor | None) -> list[Tensor | None]:
    """Each time on its own, (1,)."""
    return [None] if s is None else list(s[:, None])
