"""The ends of a spectrum, without the spectrum: Lanczos iterations with the matrix, or with its inverse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def largest_eigenvalue(multiply: Callable[[np.ndarray], np.ndarray], n: int, tolerance: float = 1e-3) -> float:
    """The largest eigenvalue of a positive semi-definite matrix (n, n) of which `multiply` gives products with vectors (n,).

    A Ritz value, so from below. `tolerance` is of the residual, relative to the eigenvalue; the eigenvalue's own error is
    second order in it. The start is fixed, so that a matrix has one answer. Infinite where products are.

    Lanczos 1950; the implementation is ARPACK's (Lehoucq, Sorensen and Yang 1998), by way of scipy.

    Example:
        >>> import numpy as np
        >>> from torchtangents.predict.extremes import largest_eigenvalue
        >>> round(largest_eigenvalue(lambda v: np.array([2.0, 1.0, 0.5]) * v, 3), 12)
        2.0
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(n)
    if n == 1:
        return float(multiply(np.ones(1))[0])
    unit = float(np.abs(multiply(start)).max())  # ARPACK forms products of two lengths, which must not overflow
    if unit == 0 or not np.isfinite(unit):
        return 0.0 if unit == 0 else np.inf
    operator = LinearOperator((n, n), matvec=lambda v: multiply(v.reshape(n)) / unit, dtype=np.float64)  # type: ignore[call-arg]
    return unit * float(eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, return_eigenvectors=False)[0])


def smallest_eigenvalue(solve: Callable[[np.ndarray], np.ndarray], n: int, tolerance: float = 1e-3) -> float:
    """The smallest eigenvalue of a positive definite matrix of which `solve` gives products of the inverse with vectors.

    From above, as the inverse has its largest from below. The cost is some 20 to 60 solutions, against N^3 for a spectrum.

    Example:
        >>> import numpy as np
        >>> from torchtangents.predict.extremes import smallest_eigenvalue
        >>> round(smallest_eigenvalue(lambda v: v / np.array([2.0, 1.0, 0.5]), 3), 12)
        0.5
    """
    return 1 / largest_eigenvalue(solve, n, tolerance)


def extremes(matrix: Tensor, factor: Tensor) -> tuple[float, float]:
    """Smallest and largest eigenvalue of `matrix` (N, N) with its lower Cholesky factor.

    Example:
        >>> import torch
        >>> from torchtangents.predict.extremes import extremes
        >>> k = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64))
        >>> [round(value, 12) for value in extremes(k, k.sqrt())]
        [1.0, 4.0]
    """

    def column(v: np.ndarray) -> Tensor:
        return torch.as_tensor(v, dtype=matrix.dtype, device=matrix.device)[:, None]  # (N, 1)

    def solve(v: np.ndarray) -> np.ndarray:
        half = torch.linalg.solve_triangular(factor, column(v), upper=False)
        return torch.linalg.solve_triangular(factor.mT, half, upper=True)[:, 0].cpu().numpy()

    def multiply(v: np.ndarray) -> np.ndarray:
        return (matrix @ column(v))[:, 0].cpu().numpy()

    n = matrix.shape[0]
    return smallest_eigenvalue(solve, n), largest_eigenvalue(multiply, n)
