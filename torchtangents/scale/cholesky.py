"""Cholesky in place: one float64 matrix, factored where it lies (LAPACK's potrf), and nothing else of its size."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..predict.singular import SingularKernelError, resolution, spectrum_error
from .square import Square
from .survey import Survey, survey


def state_bytes(n: int, outputs: int, tile: int) -> int:
    """Memory that it takes: the matrix (N, N), right-hand sides with their residuals, the tiles in flight."""
    return 8 * (n * n + 6 * n * outputs + 6 * tile * tile)


def solve_cholesky(square: Square, y: Tensor, diag_reg: float, progress: bool | None) -> tuple[Tensor, Survey]:
    """(K + diag_reg tr(K)/N I)^-1 y for y (N, C) in float64, and what was found out about K while it was read.

    The matrix is in Fortran's order, so that LAPACK takes it as it is. potrf writes the factor into the lower triangle and
    leaves the strict upper one, so the spectrum can still be computed, in place too, where the factor says it is needed.

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
    _, info = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
    factor = matrix.diagonal().copy()
    bound = resolution(n, found.scale + shift, found.norm + shift, square.dtype)
    if info or factor.min() ** 2 <= n * bound:
        values = _spectrum(matrix, at, diagonal)
        if info or values[0].item() <= resolution(n, found.scale + shift, values[-1].item(), square.dtype):
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
