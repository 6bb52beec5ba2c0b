"""Outputs of any module: their leaves, and what trace and diagonal axes make of a kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


def leaves_of(out: Any) -> tuple[list[tuple[str, Any]], Any]:
    """(path, leaf) of every leaf, and the structure; any mapping counts as a dict, None is no leaf."""
    paths, spec = pytree.tree_flatten_with_path(_plain(out))
    return [(pytree.keystr(path), leaf) for path, leaf in paths], spec


def _plain(out: Any) -> Any:
    if isinstance(out, Mapping):
        return {k: _plain(v) for k, v in out.items()}
    if isinstance(out, (tuple, list)) and not hasattr(out, "_fields"):
        return type(out)(_plain(v) for v in out)
    return out


def check_leaf(path: str, leaf: Any, count: int) -> None:
    """Refuse an output that is no floating-point tensor with the samples on axis 0."""
    where = f"output{path}"
    if not isinstance(leaf, Tensor):
        raise TypeError(f"{where}: expected a tensor, got {type(leaf).__name__}; return only tensors from a wrapper module")
    if not leaf.is_floating_point():
        raise TypeError(f"{where}: expected floating-point numbers, got {leaf.dtype}; it has no derivative, leave it out")
    if leaf.ndim < 1 or len(leaf) != count:
        raise ValueError(
            f"{where}: expected the samples on axis 0, got shape {tuple(leaf.shape)} for {count} samples; "
            "return one row a sample, without a reduction over the batch"
        )


@dataclass(frozen=True)
class Axes:
    """One sample's output axes, sorted: diagonal ones, traced ones, and free ones (each flattened)."""

    shape: tuple[int, ...]  # of one sample
    traced: tuple[int, ...]  # axes of the output, the batch on 0
    diagonal: tuple[int, ...]

    @staticmethod
    def of(shape: tuple[int, ...], trace_axes: Sequence[int], diagonal_axes: Sequence[int]) -> Axes:
        """Checked and made positive; an output with no axis but the batch has nothing to trace by default."""
        n = 1 + len(shape)
        if n == 1 and tuple(trace_axes) == (-1,):
            trace_axes = ()
        found = []
        for name, axes in (("trace_axes", trace_axes), ("diagonal_axes", diagonal_axes)):
            for a in axes:
                if isinstance(a, bool) or not isinstance(a, int) or not -n <= a < n:
                    raise ValueError(f"{name}: expected axes of an output of {n} axes (the samples on 0), got {a!r}")
            found.append(tuple(sorted(a % n for a in axes)))
        traced, diagonal = found
        if len(set(traced + diagonal)) < len(traced + diagonal):
            raise ValueError(
                f"expected trace_axes and diagonal_axes without an axis twice, got {tuple(trace_axes)} and {tuple(diagonal_axes)}"
            )
        return Axes(shape, traced, diagonal)

    @property
    def paired(self) -> bool:
        """Whether samples meet only themselves."""
        return 0 in self.traced + self.diagonal

    def _kind(self, axes: Sequence[int]) -> list[int]:
        return [a for a in axes if a]

    @property
    def free(self) -> list[int]:
        """Axes that stay twice."""
        return [a for a in range(1, 1 + len(self.shape)) if a not in self.traced + self.diagonal]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of outputs on the diagonal, traced and free axes."""
        kinds = (self._kind(self.diagonal), self._kind(self.traced), self.free)
        return tuple(math.prod(self.shape[a - 1] for a in kind) for kind in kinds)  # type: ignore[return-value]

    def sorted(self, out: Tensor) -> Tensor:
        """(N, *shape) as (N, diagonal, traced, free)."""
        order = [*self._kind(self.diagonal), *self._kind(self.traced), *self.free]
        return out.permute(0, *order).reshape(len(out), *self.counts)

    def arranged(self, k: Tensor) -> Tensor:
        """(diagonal, N1, free, N2, free), or (diagonal, N, free, free) where samples meet themselves, as axes zipped."""
        diagonal, free = self._kind(self.diagonal), self.free
        size = [self.shape[a - 1] for a in free]
        samples = 1 if self.paired else 2
        n1 = k.shape[1]
        k = k.reshape(*(self.shape[a - 1] for a in diagonal), n1, *size, *(() if self.paired else (k.shape[3],)), *size)
        d, f = len(diagonal), len(free)
        second = d + 1 + f  # where the second half begins
        order = [d] if self.paired else [d, second]
        for a in range(1, 1 + len(self.shape)):
            if a in diagonal:
                order.append(diagonal.index(a))
            elif a in free:
                order += [d + 1 + free.index(a), second + samples - 1 + free.index(a)]
        k = k.permute(order)
        return k.mean(0) if 0 in self.traced else k


def rows(axes: Axes, diagonal: slice, traced: slice, like: Tensor) -> Tensor:
    """The standard basis of some outputs, (rows, *shape), rows sorted as diagonal, traced, free."""
    size = math.prod(axes.shape)
    index = axes.sorted(torch.arange(size, device=like.device).reshape(1, *axes.shape))[0, diagonal, traced].flatten()
    basis = torch.zeros(len(index), size, dtype=like.dtype, device=like.device)
    basis[torch.arange(len(index), device=like.device), index] = 1
    return basis.reshape(-1, *axes.shape)
