"""Exact Gaussian process regression on given kernel matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .check import require_shape, require_tensor
from .gram import Diagonal, Gram, symmetric
from .outputs import Outputs
from .persistence import Persistent, pack, require_entry, unpack
from .prediction import Prediction


class Posterior(Persistent):
    """A Gaussian process that has seen `y_train`: mean, covariance, samples, evidence, leave-one-out in closed form.

    mean = K* Q^-1 y,  covariance = K** - K* Q^-1 K*^T,  with Q = K + diag_reg tr(K)/N I + diag(noise).

    Args:
        k_train_train: (N, N) any kernel of the training points with themselves; or (N, N, O, O) with one pair (O, O) for
            each output axis, zipped as in neural-tangents, where outputs are not independent.
        y_train: (N, *O) targets; along axes that the kernel lacks, outputs are independent and share it.
        diag_reg: variance of the observation noise, a number or 0-dim tensor, relative to the mean of K's diagonal.
        diag_reg_absolute_scale: diag_reg is in the kernel's own units.
        noise: (N,) variances of the observation noise of each point, added to that.
        trace_axes: axes of y_train that the kernel lacks; needed where it lacks some and has others.
        jitter: allow a singular kernel: `jitter_added` says what its diagonal got, a JitterWarning too.

    Raises:
        SingularKernelError: Q has no inverse; names a `diag_reg` that works.
        TypeError, ValueError: sizes, dtypes or devices that do not fit, NaN, a matrix that is not symmetric.

    Lee et al. 2018 (arXiv 1711.00165); Rasmussen and Williams 2006, chapters 2 and 5.

    Example:
        >>> import torch, torchtangents as tt
        >>> k = torch.tensor([[2., 1.], [1., 2.]])
        >>> posterior = tt.predict.Posterior(k, torch.tensor([1., -1.]), diag_reg=0.5)
        >>> mean, covariance = posterior.at(k_test_train=k, k_test_test=k)
        >>> mean
        tensor([ 0.5000, -0.5000])
    """

    def __init__(
        self,
        k_train_train: Tensor,
        y_train: Tensor,
        *,
        diag_reg: float | Tensor = 0.0,
        diag_reg_absolute_scale: bool = False,
        noise: Tensor | None = None,
        trace_axes: Sequence[int] | None = None,
        jitter: bool = False,
    ):
        self._prepare(k_train_train, y_train, Diagonal(diag_reg, diag_reg_absolute_scale, noise, jitter), trace_axes)
        self._alpha = self.gram.solve(self._y)  # (R, C)

    def _prepare(self, k: Tensor, y: Tensor, diagonal: Diagonal, trace_axes: Sequence[int] | None) -> None:
        self._outputs = Outputs(k, y, trace_axes)
        self.gram = Gram(self._outputs.matrix(k), diagonal, points=len(y))
        self.y_train = y.clone()
        self._y = self._outputs.rows(self.y_train.double())  # (R, C)

    def at(self, k_test_train: Tensor, k_test_test: Tensor | None = None) -> Prediction:
        """Mean and covariance of the noise-free outputs at M test points.

        Args:
            k_test_train: (M, N), or (M, N, O, O) as k_train_train.
            k_test_test: (M, M) or (M, M, O, O) for the full covariance, (M,) or (M, O) for the variances, None for neither.

        Raises:
            TypeError, ValueError: sizes, dtypes or devices that do not fit, NaN.
        """
        mean, covariance = self._moments(k_test_train, k_test_test)
        if covariance is not None and covariance.ndim == 1:
            covariance = covariance.reshape(-1, *self._outputs.sizes)
        elif covariance is not None:
            covariance = self._outputs.unmatrix(covariance)
        return Prediction(self._shaped(mean), None if covariance is None else covariance.to(self.gram.dtype))

    def samples(self, n: int, k_test_train: Tensor, k_test_test: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw `n` functions, noise-free, at M test points: (n, M, *O).

        Args:
            n: number of draws.
            k_test_train, k_test_test: (M, N) and (M, M), or with pairs (O, O) as k_train_train.
            generator: source of randomness, on the kernel's device; None is torch's default.

        Raises:
            ValueError: `k_test_test` is not (M, M), or the matrices do not belong to one kernel.
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ValueError(f"n: expected a number of samples >= 0, got {n!r}.")
        mean, covariance = self._moments(k_test_train, k_test_test)
        if covariance is None or covariance.ndim != 2:
            raise ValueError("k_test_test: expected the full matrix (M, M), which samples need; pass k(x_test, x_test).")
        values, vectors = torch.linalg.eigh(covariance)
        allowed = math.sqrt(torch.finfo(self.gram.dtype).eps) * k_test_test.detach().abs().max().item() * len(mean)
        if values.numel() and values[0].item() < -allowed:
            raise ValueError(
                f"the posterior covariance has eigenvalue {values[0].item():.3g}, expected none below {-allowed:.3g}; "
                "k_train_train, k_test_train and k_test_test must come from one kernel."
            )
        root = vectors * values.clamp(min=0).sqrt()  # (M, M), root root^T = covariance
        noise = torch.randn(n, *mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)  # (n, M, O)
        return self._shaped(mean + root @ noise)

    def log_marginal_likelihood(self) -> Tensor:
        """log N(y; 0, Q), summed over outputs: a differentiable 0-dim tensor.

        -1/2 y^T Q^-1 y - 1/2 log det Q - N/2 log 2 pi.
        """
        outputs = self._y.shape[1]
        log_determinant = 2 * self.gram.cholesky.diagonal().log().sum()
        constant = self.gram.size * math.log(2 * math.pi)
        return (-0.5 * ((self._y * self._alpha).sum() + outputs * (log_determinant + constant))).to(self.gram.dtype)

    def leave_one_out(self) -> Prediction:
        """Mean (as y_train) and variance (N,) of each target predicted from all the others, noise included.

        mean_i = y_i - ([Q^-1]_ii)^-1 [Q^-1 y]_i,  variance_i = ([Q^-1]_ii)^-1, with the noise variance of all N points.
        Where the kernel keeps output axes, all outputs of a point are left out together; variances are (N, O).
        """
        n, p = len(self.y_train), self._outputs.block
        precision = torch.cholesky_inverse(self.gram.cholesky).reshape(n, p, n, p).diagonal(dim1=0, dim2=2)  # (P, P, N)
        covariance = torch.linalg.inv(precision.permute(2, 0, 1))  # (N, P, P)
        mean = self._y - (covariance @ self._alpha.reshape(n, p, -1)).reshape(self._y.shape)
        variance = covariance.diagonal(dim1=1, dim2=2).reshape(n, *self._outputs.sizes)
        return Prediction(self._shaped(mean), variance.to(self.gram.dtype))

    @property
    def jitter_added(self) -> float:
        """What the kernel's diagonal got beyond what was asked for, in units of the kernel."""
        return self.gram.jitter

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, with the factors, as a flat dictionary of tensors."""
        options = self.gram.options() | {"trace_axes": list(self._outputs.traced)}
        k = self._outputs.unmatrix(self.gram.plain.to(self.gram.dtype))
        return pack("Posterior", options, {"k_train_train": k, "y_train": self.y_train} | self.gram.tensors())

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> Posterior:
        """The posterior that was saved; refuses the state of another class or version, and tensors that do not fit."""
        options, tensors = unpack("Posterior", state)
        k, y = (require_entry(tensors, name) for name in ("k_train_train", "y_train"))
        posterior = cls.__new__(cls)
        posterior._prepare(k, y, Diagonal.restored(options, tensors), options["trace_axes"])
        posterior.gram.adopt(tensors, options["jitter_added"])
        posterior._alpha = posterior.gram.solve(posterior._y)
        return posterior

    def _moments(self, k_test_train: Tensor, k_test_test: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Mean (M P, C) and covariance (M P, M P) or variances (M P,)."""
        cross = self._outputs.require_cross(k_test_train)  # (M P, R)
        mean = cross @ self._alpha  # (M P, C)
        if k_test_test is None:
            return mean, None
        k_test_test = require_tensor("k_test_test", k_test_test, "k_train_train", self.y_train)
        m, sizes = len(k_test_train), self._outputs.sizes
        pairs = tuple(size for size in sizes for _ in range(2))
        require_shape("k_test_test", k_test_test, (m, m, *pairs), (m, *sizes), remedy="pass k(x_test, x_test) or its diagonal")
        half = torch.linalg.solve_triangular(self.gram.cholesky, cross.mT, upper=False)  # (R, M P)
        if k_test_test.ndim == 1 + len(sizes):
            return mean, (k_test_test.double().reshape(-1) - half.square().sum(0)).clamp(min=0)
        return mean, symmetric(self._outputs.matrix(k_test_test.double()) - half.mT @ half)

    def _shaped(self, rows: Tensor) -> Tensor:
        return self._outputs.shaped(rows).to(self.gram.dtype)
