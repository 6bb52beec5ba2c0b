"""L L^T + s I from a few rows of a kernel, whose inverse makes conjugate gradients converge in fewer iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from linear_operator import LinearOperator
from torch import Tensor

from .square import Square


class Rows(LinearOperator):
    """A symmetric matrix of which `pivoted_cholesky` sees the diagonal (N,) and, one at a time, the rows that it asks for."""

    def __init__(self, diagonal: Tensor, *, row: Callable[[int], Tensor]):
        super().__init__(diagonal, row=row)
        self.diagonal_values, self.row = diagonal, row

    def _size(self) -> torch.Size:
        return torch.Size([len(self.diagonal_values)] * 2)

    def _diagonal(self) -> Tensor:
        return self.diagonal_values

    def _transpose_nonbatch(self) -> Rows:
        return self

    def _matmul(self, rhs: Tensor) -> Tensor:
        raise NotImplementedError("Rows gives single rows; scale.products has products with the whole matrix.")

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Any) -> Tensor:
        n = int(row_index.flatten()[0])
        if bool((row_index != n).any()):
            raise NotImplementedError("Rows gives single rows; scale.products has products with the whole matrix.")
        return self.row(n)[col_index]


class Preconditioner:
    """(L L^T + s I)^-1, L (N, R) the partial pivoted Cholesky factor of a kernel.

    With [Q; Q'] R = [L; sqrt(s) I] the inverse is (I - Q Q^T) / s (Woodbury). The factor ends early where what is left of
    the trace is below s, when the condition number of the preconditioned matrix is below 2.

    Harbrecht, Peters and Schneider 2012 (doi 10.1016/j.apnum.2011.10.001); Gardner et al. 2018 (arXiv 1809.11165), section 4.

    Args:
        square: the kernel; R of its rows are read.
        diagonal: (N,) its diagonal.
        shift: s, what diag_reg adds to it; where that is zero, the mean of what the factor leaves of the diagonal.
        rank: R at most; 0 is no preconditioner.
    """

    def __init__(self, square: Square, diagonal: Tensor, shift: float, rank: int):
        self.rank, self._q, self._shift = 0, None, 1.0
        largest = diagonal.max().item()
        if rank == 0 or not largest > 0:
            return
        rounding = len(square) * torch.finfo(square.dtype).eps
        operator = Rows(diagonal, row=square.row)
        tolerance = max(shift / largest, rounding)
        factor: Any = operator.pivoted_cholesky(rank=min(rank, len(square)), error_tol=tolerance)  # (N, R)
        sound = torch.isfinite(factor).all(0)
        factor = factor[:, : int(sound.long().cumprod(0).sum())]  # rounding ends it where no positive pivot is left
        left = (diagonal - factor.square().sum(1)).clamp(min=0).mean().item()
        self._shift = shift if shift > 0 else max(left, rounding * largest)  # below, rounding could make it indefinite
        self.rank = factor.shape[1]
        stacked = torch.cat([factor, self._shift**0.5 * torch.eye(self.rank, dtype=torch.float64, device="cpu")])
        self._q = torch.linalg.qr(stacked)[0][: len(square)].contiguous()

    def __call__(self, r: Tensor) -> Tensor:
        """The inverse on r (N, C); r itself without a preconditioner."""
        if self._q is None:
            return r.clone()
        return (r - self._q @ (self._q.mT @ r)) / self._shift
