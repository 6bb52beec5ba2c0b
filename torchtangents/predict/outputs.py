"""Output axes: targets (N, *O) and a kernel that lacks all, some or none of them as one matrix equation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .check import require_shape, require_targets, require_tensor


class Outputs:
    """How the axes of targets (N, *O) are spread over the rows and columns of a matrix equation.

    A kernel has the shape (N1, N2) followed by (O, O) for each output axis that it keeps; along the others, the traced
    axes, it is the same for every output (Theta (x) I). With P outputs kept and C traced, kernels become (N1 P, N2 P)
    and outputs (N P, C).

    Args:
        k: the train-train kernel.
        y: targets (N, *O).
        trace_axes: axes of `y` that the kernel lacks; None infers it where the kernel has all output axes or none.
    """

    def __init__(self, k: object, y: object, trace_axes: Sequence[int] | None = None):
        k = require_tensor("k_train_train", k)
        if k.ndim < 2 or k.shape[0] != k.shape[1] or k.shape[0] == 0:
            raise ValueError(
                f"k_train_train: expected a square matrix (N, N), N >= 1, got {tuple(k.shape)}; pass k(x_train, x_train)."
            )
        self.y = require_targets(y, k)  # (N, *O)
        axes = range(1, self.y.ndim)
        if trace_axes is not None:
            traced = _canonical(trace_axes, self.y.ndim)
        elif k.ndim == 2:
            traced = tuple(axes)
        elif k.ndim == 2 * self.y.ndim:
            traced = ()
        else:
            raise ValueError(self._unfit(k, "(N, N), or (N, N, O, O) with one pair for each output axis; else give trace_axes"))
        self.traced = traced
        self.kept = tuple(a for a in axes if a not in traced)
        self.sizes = tuple(self.y.shape[a] for a in self.kept)  # of the kept axes
        expected = (len(k), len(k), *(size for size in self.sizes for _ in range(2)))
        if tuple(k.shape) != expected:
            raise ValueError(self._unfit(k, str(expected)))
        self.points = len(k)
        if len(self.sizes) > 1:
            self._require_pairs(k)

    def matrix(self, k: Tensor) -> Tensor:
        """A kernel (N1, N2, O, O, ...) as (N1 P, N2 P)."""
        n = k.ndim
        return k.permute(*range(0, n, 2), *range(1, n, 2)).reshape(k.shape[0] * self.block, k.shape[1] * self.block)

    def unmatrix(self, matrix: Tensor) -> Tensor:
        """A matrix (M P, M P) as a kernel (M, M, O, O, ...)."""
        if not self.sizes:
            return matrix
        m, n = matrix.shape[0] // self.block, 1 + len(self.sizes)
        return matrix.reshape(m, *self.sizes, m, *self.sizes).permute(*(i for a in range(n) for i in (a, a + n)))

    @property
    def block(self) -> int:
        """P, the number of outputs that the kernel keeps."""
        return math.prod(self.sizes)

    def rows(self, f: Tensor) -> Tensor:
        """Outputs (M, *O) as (M P, C)."""
        return f.permute(0, *self.kept, *self.traced).reshape(len(f) * self.block, -1)

    def shaped(self, rows: Tensor) -> Tensor:
        """Rows (*T, M P, C) as outputs (*T, M, *O)."""
        lead = rows.shape[:-2]
        order = (0, *self.kept, *self.traced)
        tail = tuple(self.y.shape[a] for a in order[1:])
        spread = rows.reshape(*lead, rows.shape[-2] // self.block, *tail)
        back = [len(lead) + order.index(a) for a in range(self.y.ndim)]
        return spread.permute(*range(len(lead)), *back)

    def require_cross(self, k: object) -> Tensor:
        """A test-train kernel (M, N, O, O, ...) as a float64 matrix (M P, N P)."""
        k = require_tensor("k_test_train", k, "k_train_train", self.y)
        pairs = tuple(size for size in self.sizes for _ in range(2))
        require_shape("k_test_train", k, (-1, self.points, *pairs), remedy="pass k(x_test, x_train)")
        return self.matrix(k.double())

    def require_like(self, name: str, f: float | Tensor, points: int, *, state: bool = False) -> Tensor:
        """A number, or outputs (points, *O), as float64 rows (points P, C); those of a `state` may be float64 already."""
        if isinstance(f, Tensor):
            f = require_tensor(name, f, "y_train", self.y.double() if state and f.dtype == torch.float64 else self.y)
            if f.ndim:
                require_shape(name, f, (points, *self.y.shape[1:]), remedy="a number, or one output for each target")
        full = torch.as_tensor(f, dtype=torch.float64, device=self.y.device).expand(points, *self.y.shape[1:])
        return self.rows(full)

    def _require_pairs(self, k: Tensor) -> None:
        """Refuse (N, N, A, B, A, B), which the shape does not tell from (N, N, A, A, B, B) where A = B: it has no symmetry."""
        with torch.no_grad():
            mirror = k.permute(*(a ^ 1 for a in range(k.ndim)))
            gap, scale = (k - mirror).abs().max().item(), k.abs().max().item()
        if gap > math.sqrt(torch.finfo(k.dtype).eps) * scale:
            raise ValueError(
                f"k_train_train: expected a symmetric kernel, axes in pairs (N, N, A, A, B, B), got entries that differ by "
                f"{gap:.3g} from their mirror image; bring the axes of both inputs side by side, as neural-tangents has them."
            )

    def _unfit(self, k: Tensor, expected: str) -> str:
        return (
            f"k_train_train: expected shape {expected} for targets {tuple(self.y.shape)}, got {tuple(k.shape)}. If the network "
            "leaves positions at its output, end it with a global pool, or Flatten and a Linear."
        )


def _canonical(trace_axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    wrong = [a for a in trace_axes if not (isinstance(a, int) and -ndim < a < ndim and a % ndim != 0)]
    axes = tuple(sorted({a % ndim for a in trace_axes if a not in wrong}))
    if wrong or len(axes) != len(trace_axes):
        raise ValueError(f"trace_axes: expected different output axes of y_train, 1 to {ndim - 1}, got {trace_axes!r}.")
    return axes
