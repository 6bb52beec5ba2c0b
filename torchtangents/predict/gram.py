"""The train-train kernel with its regulariser, factored once."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .check import require_square
from .singular import cutoff, regularized, singular_error


class Spectrum(NamedTuple):
    """Eigenvalues (N,), ascending, zero where arithmetic cannot tell them from it; eigenvectors (N, N); no gradient."""

    values: Tensor
    vectors: Tensor


class Gram:
    """K + diag_reg tr(K)/N I in float64, with its Cholesky factor and its eigendecomposition, each computed once."""

    def __init__(self, k: Tensor, diag_reg: float, name: str = "k_train_train"):
        k = require_square(name, k)
        self.dtype = k.dtype
        self.diag_reg = diag_reg
        self.plain = symmetric(k.double())  # (N, N)
        self.matrix = regularized(self.plain, diag_reg)  # (N, N)

    @property
    def size(self) -> int:
        """N, the number of training points."""
        return self.matrix.shape[0]

    @cached_property
    def cholesky(self) -> Tensor:
        """The lower Cholesky factor (N, N), differentiable; refuses a singular matrix."""
        factor, info = torch.linalg.cholesky_ex(self.matrix)
        if info.item() or self._nearly_singular(factor.detach()):
            raise singular_error(self.plain, self.diag_reg, self.dtype)
        return factor

    def solve(self, b: Tensor) -> Tensor:
        """K^-1 b for b (N, M)."""
        return torch.cholesky_solve(b, self.cholesky)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigendecomposition."""
        values, vectors = torch.linalg.eigh(self.matrix.detach())
        kept = values > cutoff(self.matrix.detach(), values[-1].item(), self.dtype)
        return Spectrum(torch.where(kept, values, 0.0), vectors)

    def _nearly_singular(self, factor: Tensor) -> bool:
        matrix = self.matrix.detach()
        bound = torch.linalg.matrix_norm(matrix, ord=1).item()  # at least the largest eigenvalue
        if factor.diagonal().min().square().item() > self.size * cutoff(matrix, bound, self.dtype):
            return False
        values = torch.linalg.eigvalsh(matrix)
        return bool(values[0] <= cutoff(matrix, values[-1].item(), self.dtype))


def symmetric(k: Tensor) -> Tensor:
    """(K + K^T) / 2, which rounding makes symmetric to the last bit."""
    return (k + k.mT) / 2
