"""Cholesky in place: one float64 matrix, factored where it lies, and nothing else of its size."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import blas, lapack
from torch import Tensor

from ..predict.extremes import largest_eigenvalue, smallest_eigenvalue
from ..predict.singular import Ends, ends_error, resolution
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
    the strict upper one stays, so the ends of the spectrum can still be found where the factor says they are needed.

    Raises:
        SingularKernelError: the matrix has no inverse, to the accuracy of the kernel's dtype; names a diag_reg that works.
        ValueError: as `survey`.
    """
    n, cuts = len(square), square.cuts
    matrix = np.empty((n, n), order="F")

    def write(i: int, j: int, tile: Tensor) -> None:
        matrix[cuts[i], cuts[j]] = tile.numpy()
        matrix[cuts[j], cuts[i]] = tile.mT.numpy()

    found = survey(square, progress, into=write)
    shift = diag_reg * found.scale
    matrix[np.diag_indices(n)] = found.diagonal.numpy() + shift
    definite = factor_in_place(matrix)
    bound = resolution(n, found.scale + shift, found.norm + shift, square.dtype)
    if not definite or matrix.diagonal().min() ** 2 <= n * bound:
        ends = _ends(matrix, found, shift, definite)
        if not definite or ends.least + shift <= ends.resolution(square.dtype, shift):
            raise ends_error(ends, diag_reg, False, square.dtype, alternative="")
    return torch.from_numpy(np.ascontiguousarray(_solved(matrix, np.asfortranarray(y.numpy())))), found


def _ends(matrix: np.ndarray, found: Survey, shift: float, definite: bool) -> Ends:
    """The ends of K's spectrum, from K in the strict upper triangle and the factor of K + shift I in the lower one.

    If that is no factor, more is added to the diagonal until there is one, which then takes its place.
    """
    n, at = len(matrix), np.diag_indices(len(matrix))
    scale = max(found.scale, found.norm / n)
    if not scale > 0:  # K = 0
        return Ends(n, 0.0, 0.0, 0.0)
    while not definite:
        shift = max(10 * shift, 1e-8 * scale)
        _mirror(matrix)
        matrix[at] = found.diagonal.numpy() + shift
        definite = factor_in_place(matrix)
    least = smallest_eigenvalue(lambda v: _solved(matrix, v), n) - shift
    factor = matrix.diagonal().copy()
    matrix[at] = found.diagonal.numpy()
    largest = largest_eigenvalue(lambda v: blas.dsymv(1.0, matrix, v, lower=0), n)
    matrix[at] = factor
    return Ends(n, least, largest, found.scale)


def _mirror(matrix: np.ndarray) -> None:
    """Write the strict upper triangle into the lower one."""
    whole, n = torch.from_numpy(matrix), len(matrix)
    for start in range(0, n, panel(n)):
        stop = min(n, start + panel(n))
        corner = whole[start:stop, start:stop]
        corner.copy_(corner.triu() + corner.triu(1).mT)
        whole[stop:, start:stop] = whole[start:stop, stop:].mT


def _solved(matrix: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, _ = lapack.dpotrs(matrix, b, lower=1)
    return x.reshape(b.shape)
