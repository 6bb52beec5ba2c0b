"""What a solve gives: weights of the training points, how good they are, and predictions that stream."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine.progress import watched
from ..predict.persistence import pack, require_entry, unpack
from .square import chunk_sizes, kernel_array, read, torch_dtype

_CHUNK = 1024  # rows and columns that are read at a time from an array without chunks


@dataclass(frozen=True, eq=False)
class Solution:
    """alpha = (K + diag_reg tr(K)/N I)^-1 y, with which k(x, x_train) alpha is the mean of the ensemble (infinite time).

    Attributes:
        alpha: (N, outputs) float64.
        residuals: (outputs,) |y - (K + diag_reg tr(K)/N I) alpha| / |y| of each right-hand side, computed anew at the end.
        iterations: of conjugate gradients, those before it was taken up again among them; 0 of Cholesky.
        method: "cholesky" or "cg".
        diag_reg: relative to the mean of K's diagonal.
        regularizer: what it added to the diagonal, in units of K.
        kind: "nngp" or "ntk", which of a stored kernel was solved.
        dtype: of the kernel; predictions have it.
        output_shape: the shape of y after its first axis, () or (outputs,).

    Example:
        >>> import torch, torchtangents as tt
        >>> solution = tt.scale.solve(torch.eye(3), torch.tensor([2., 4., 6.]), diag_reg=1.)
        >>> solution.alpha[:, 0], solution.method, solution.regularizer
        (tensor([1.0000, 2.0000, 3.0000], dtype=torch.float64), 'cholesky', 1.0)
    """

    alpha: Tensor = field(repr=False)
    residuals: Tensor
    iterations: int
    method: str
    diag_reg: float
    regularizer: float
    kind: str
    dtype: torch.dtype
    output_shape: tuple[int, ...]

    def __repr__(self) -> str:
        worst = self.residuals.max().item()
        how = f"{self.iterations} iterations, " if self.method == "cg" else ""
        points, outputs = self.alpha.shape
        return (
            f"Solution({points} points, {outputs} right-hand side{'s' if outputs > 1 else ''}, {self.method}, {how}"
            f"diag_reg={self.diag_reg:g}, largest relative residual {worst:.1e})"
        )

    def predict(self, k_test_train: Any, rows: int | None = None, progress: bool | None = None) -> Tensor:
        """k_test_train alpha, (M,) or (M, outputs) as y, in the kernel's dtype; sums are float64, a tile is in memory at a time.

        Args:
            k_test_train: (M, N) a stored kernel of test with training points, or an array that slices.
            rows: test points at a time; None is a chunk of the store.
            progress: a bar, or none, or one that appears when it takes long.

        Raises:
            TypeError, ValueError: another dtype than the training kernel's, a shape that does not fit, NaN or infinity.
        """
        name = "k_test_train"
        array = kernel_array(name, k_test_train, self.kind)
        dtype, points = torch_dtype(name, array), len(self.alpha)
        if dtype != self.dtype:
            raise TypeError(f"{name} is {dtype} but the training kernel was {self.dtype}; expected one dtype: compute it so.")
        if len(array.shape) != 2 or array.shape[1] != points:
            raise ValueError(f"{name}: expected shape (any, {points}), got {tuple(array.shape)}; pass k(x_test, x_train).")
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 1):
            raise ValueError(f"rows: expected a number of test points >= 1, got {rows!r}.")
        tall, wide = chunk_sizes(array) or (_CHUNK, _CHUNK)
        tall, wide = rows or tall * max(1, _CHUNK // tall), wide * max(1, _CHUNK // wide)
        mean = torch.zeros(array.shape[0], self.alpha.shape[1], dtype=torch.float64, device="cpu")
        places = [(i, j) for i in range(0, len(mean), tall) for j in range(0, points, wide)]
        for i, j in watched(places, progress, "predictions"):
            tile = read(array, slice(i, min(i + tall, len(mean))), slice(j, min(j + wide, points)))
            bad = (~torch.isfinite(tile)).nonzero()
            if len(bad):
                row, column = bad[0].tolist()
                value, index = tile[row, column].item(), (i + row, j + column)
                raise ValueError(f"{name}: expected finite numbers, got {value} at index {index}; compute it again.")
            mean[i : i + tall] += tile.double() @ self.alpha[j : j + wide]
        return mean.reshape(len(mean), *self.output_shape).to(self.dtype)

    def save(self, path: str | os.PathLike) -> None:
        """Write it to a file, with torch.save."""
        options = {name: getattr(self, name) for name in ("iterations", "method", "diag_reg", "regularizer", "kind")}
        options |= {"dtype": str(self.dtype).removeprefix("torch."), "output_shape": list(self.output_shape)}
        torch.save(pack("Solution", options, {"alpha": self.alpha, "residuals": self.residuals}), Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Solution:
        """The solution that was saved; refuses the file of something else."""
        options, tensors = unpack("Solution", torch.load(Path(path), weights_only=True))
        alpha, residuals = (require_entry(tensors, name) for name in ("alpha", "residuals"))
        options |= {"dtype": getattr(torch, options["dtype"]), "output_shape": tuple(options["output_shape"])}
        return cls(alpha=alpha, residuals=residuals, **options)


class ConvergenceError(RuntimeError):
    """Conjugate gradients ended before every right-hand side was within the tolerance; `solution` is what there is.

    Example:
        >>> import torch, torchtangents as tt
        >>> k = torch.tensor([[2., 1., 0.], [1., 2., 1.], [0., 1., 2.]])
        >>> try:
        ...     tt.scale.solve(k, torch.tensor([1., 2., 0.]), method="cg", preconditioner_rank=0, max_iterations=1)
        ... except tt.scale.ConvergenceError as error:
        ...     error.solution.iterations
        1
    """

    def __init__(self, message: str, solution: Solution):
        super().__init__(message)
        self.solution = solution
