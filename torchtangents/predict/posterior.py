"""Exact Gaussian process regression on given kernel matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import require_number, require_shape, require_targets, require_tensor
from .gram import Gram, symmetric
from .prediction import Prediction


class Posterior:
    """A Gaussian process that has seen `y_train`: mean, covariance, samples, evidence, leave-one-out in closed form.

    mean = K* Q^-1 y,  covariance = K** - K* Q^-1 K*^T,  with Q = K + diag_reg tr(K)/N I.

    Args:
        k_train_train: (N, N) any kernel of the training points with themselves.
        y_train: (N,) or (N, O) targets; outputs are independent and share the kernel.
        diag_reg: variance of the observation noise relative to the mean of K's diagonal.

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

    def __init__(self, k_train_train: Tensor, y_train: Tensor, *, diag_reg: float = 0.0):
        self.gram = Gram(k_train_train, require_number("diag_reg", diag_reg))
        y_train = require_targets(y_train, k_train_train)
        self.y_train = y_train.clone()
        self._y = y_train.double().reshape(self.gram.size, -1)  # (N, O)
        self._alpha = self.gram.solve(self._y)  # (N, O)

    def at(self, k_test_train: Tensor, k_test_test: Tensor | None = None) -> Prediction:
        """Mean and covariance of the noise-free outputs at M test points.

        Args:
            k_test_train: (M, N).
            k_test_test: (M, M) for the full covariance, (M,) for the variances, None for neither.

        Raises:
            TypeError, ValueError: sizes, dtypes or devices that do not fit, NaN.
        """
        mean, covariance = self._moments(k_test_train, k_test_test)
        dtype = self.gram.dtype
        return Prediction(self._shaped(mean).to(dtype), None if covariance is None else covariance.to(dtype))

    def samples(self, n: int, k_test_train: Tensor, k_test_test: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw `n` functions, noise-free, at M test points: (n, M) or (n, M, O).

        Args:
            n: number of draws.
            k_test_train, k_test_test: (M, N) and (M, M).
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
        return self._shaped(mean + root @ noise).to(self.gram.dtype)

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

        mean_i = y_i - [Q^-1 y]_i / [Q^-1]_ii,  variance_i = 1 / [Q^-1]_ii, with the noise variance of all N points.
        """
        precision = torch.cholesky_inverse(self.gram.cholesky).diagonal()  # (N,)
        mean = self._y - self._alpha / precision[:, None]
        return Prediction(self._shaped(mean).to(self.gram.dtype), (1 / precision).to(self.gram.dtype))

    def _moments(self, k_test_train: Tensor, k_test_test: Tensor | None) -> tuple[Tensor, Tensor | None]:
        k_test_train = require_test_train(k_test_train, self.y_train)
        cross = k_test_train.double()  # (M, N)
        mean = cross @ self._alpha  # (M, O)
        if k_test_test is None:
            return mean, None
        k_test_test = require_tensor("k_test_test", k_test_test, "k_train_train", self.y_train)
        m = len(cross)
        require_shape("k_test_test", k_test_test, (m, m), (m,), remedy="pass k(x_test, x_test) or its diagonal")
        half = torch.linalg.solve_triangular(self.gram.cholesky, cross.mT, upper=False)  # (N, M)
        if k_test_test.ndim == 1:
            return mean, (k_test_test.double() - half.square().sum(0)).clamp(min=0)
        return mean, symmetric(k_test_test.double() - half.mT @ half)

    def _shaped(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1) if self.y_train.ndim == 1 else outputs


def require_test_train(k_test_train: object, y_train: Tensor) -> Tensor:
    """`k_test_train` if it is (M, N) for the N training targets and of their dtype and device."""
    k_test_train = require_tensor("k_test_train", k_test_train, "k_train_train", y_train)
    require_shape("k_test_train", k_test_train, (-1, len(y_train)), remedy="pass k(x_test, x_train)")
    return k_test_train
