"""Cholesky in place: one float64 matrix, factored where it lies, and nothing else of its size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..predict.singular import SingularKernelError, resolution, spectrum_error
from .square import Square
from .survey import Survey, survey


def panel(n: int) -> int:
    """Columns that are factored at a time: a small part of the matrix."""
    return max(64, min(512, n // 32))


def factor_in_place(matrix: np.ndarray) -> bool:
    """Write L of L L^T into the lower triangle of a matrix in Fortran's order; whether it is positive definite.

    Panel by panel with torch's matrix products: the potrf that scipy brings (OpenBLAS 0.3.30) ends the process on two threads
    from some 16,000 rows on, and torch's own needs a second matrix.
    """
    whole, n = torch.from_numpy(matrix), len(matrix)
    for start in range(0, n, panel(n)):
        stop = min(n, start + panel(n))
        columns = whole[start:, start:stop] - whole[start:, :start] @ whole[start:stop, :start].mT  # (N - start, panel(N))
        top, info = torch.linalg.cholesky_ex(columns[: stop - start])
        if info.item():
            return False
        lower = torch.ones_like(top, dtype=torch.bool).tril()
        whole[start:stop, start:stop] = torch.where(lower, top, whole[start:stop, start:stop])
        if stop < n:
            whole[stop:, start:stop] = torch.linalg.solve_triangular(top.mT, columns[stop - start :], upper=True, left=False)
    return True


def state_bytes(n: int, outputs: int, tile: int) -> int:
    """Memory that it takes: the matrix (N, N), right-hand sides with their residuals, panels, the tiles in flight."""
    return 8 * (n * n + 6 * n * outputs + 3 * n * panel(n) + 6 * tile * tile)


def solve_cholesky(square: Square, y: Tensor, diag_reg: float, progress: bool | None) -> tuple[Tensor, Survey]:
    """(K + diag_reg tr(K)/N I)^-1 y for y (N, C) in float64, and what was found out about K while it was read.

    The matrix is in Fortran's order, so that LAPACK takes it as it is. The factor is written into the lower triangle and
    the strict upper one stays, so the spectrum can still be computed, in place too, where the factor says it is needed.

    Raises:
        SingularKernelError: the matrix has no inverse, to the accuracy of the kernel's dtype; names a diag_reg that works.
        ValueError: as `survey`.
    """
    from scipy.linalg import lapack

    n, cuts = len(square), square.cuts
    matrix = np.empty((n, n), order="F")

    def write(i: int, j: int, tile: Tensor) -> None:
        matrix[cuts[i], cuts[j]] = tile.numpy()
        matrix[cuts[j], cuts[i]] = tile.mT.numpy()

    found = survey(square, progress, into=write)
    shift = diag_reg * found.scale
    diagonal = found.diagonal.numpy() + shift
    at = np.diag_indices(n)
    matrix[at] = diagonal
    definite = factor_in_place(matrix)
    factor = matrix.diagonal().copy()
    bound = resolution(n, found.scale + shift, found.norm + shift, square.dtype)
    if not definite or factor.min() ** 2 <= n * bound:
        values = _spectrum(matrix, at, diagonal)
        if not definite or values[0].item() <= resolution(n, found.scale + shift, values[-1].item(), square.dtype):
            raise _singular(values - shift, found.scale, diag_reg, square.dtype)
        matrix[at] = factor
    x, _ = lapack.dpotrs(matrix, np.asfortranarray(y.numpy()), lower=1)
    return torch.from_numpy(np.ascontiguousarray(x)), found


def _spectrum(matrix: np.ndarray, at: Any, diagonal: np.ndarray) -> Tensor:
    """Eigenvalues (N,), ascending, from the upper triangle, which is destroyed with the diagonal; the lower one stays."""
    from scipy.linalg import eigvalsh

    matrix[at] = diagonal
    return torch.from_numpy(eigvalsh(matrix, lower=False, overwrite_a=True, check_finite=False))


def _singular(values: Tensor, scale: float, diag_reg: float, dtype: torch.dtype) -> SingularKernelError:
    return spectrum_error(values, scale, diag_reg, False, dtype, alternative="")
