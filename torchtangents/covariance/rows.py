"""Sparse linear maps over the positions of one axis, and the congruence K' = A1 K A2^T on planes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .grid import Grid, Planes, replace_axis

_SLOTS = 8  # up to which rows are gathered slot by slot


class Rows:
    """out[p] = sum_r coef[p, r] * in[index[p, r]]; an unused slot has the index -1 and the coefficient 0."""

    def __init__(self, rows: Iterable[Sequence[tuple[int, float]]], size_in: int):
        held = [[(i, c) for i, c in row if 0 <= i < size_in and c] for row in rows]
        slots = max(1, *(len(row) for row in held)) if held else 1
        self.size_in = size_in
        self.index = np.full((len(held), slots), -1, dtype=np.int64)
        self.coef = np.zeros((len(held), slots))
        for p, row in enumerate(held):
            for r, (i, c) in enumerate(row):
                self.index[p, r], self.coef[p, r] = i, c

    @classmethod
    def gather(cls, index: Iterable[int], size_in: int) -> Rows:
        """out[p] = in[index[p]], and 0 where the index is out of range."""
        return _gathered(tuple(index), size_in)

    @classmethod
    def matrix(cls, matrix: np.ndarray) -> Rows:
        """out[p] = sum_q matrix[p, q] in[q]."""
        return cls(([(int(q), float(row[q])) for q in np.flatnonzero(row)] for row in matrix), matrix.shape[1])

    @property
    def size(self) -> int:
        """Number of positions out."""
        return len(self.index)

    @functools.cached_property
    def sums(self) -> np.ndarray:
        """The sum of each row's coefficients: (size,)."""
        return self.coef.sum(1)

    @functools.cached_property
    def dense(self) -> bool:
        """Whether most coefficients are used, so that a matrix product is faster than gathering."""
        used = int((self.index >= 0).sum())
        return self.index.shape[1] > _SLOTS and 2 * used >= self.size * self.size_in

    def as_matrix(self) -> np.ndarray:
        """The map as a matrix: (size, size_in)."""
        matrix = np.zeros((self.size, self.size_in))
        p, r = np.nonzero(self.index >= 0)
        np.add.at(matrix, (p, self.index[p, r]), self.coef[p, r])
        return matrix

    def same(self, other: Rows) -> bool:
        """Whether both are one map."""
        if self is other:
            return True
        if self.index.shape != other.index.shape or self.size_in != other.size_in:
            return False
        return bool((self.index == other.index).all() and (self.coef == other.coef).all())

    @functools.cached_property
    def copies(self) -> bool:
        """Whether each row takes at most one position, with coefficient 1."""
        return self.index.shape[1] == 1 and bool(np.isin(self.coef, (0.0, 1.0)).all())

    @functools.cached_property
    def progression(self) -> tuple[int, int] | None:
        """(step, start) where out[p] = in[step p + start], 0 outside: zero padding, stride, slice."""
        index = self.index[:, 0]
        used = np.flatnonzero(index >= 0)
        if not self.copies or not len(used):
            return None
        step = int(index[used[1]] - index[used[0]]) if len(used) > 1 else 1
        start = int(index[used[0]] - step * used[0])
        expected = step * np.arange(self.size) + start
        expected[(expected < 0) | (expected >= self.size_in)] = -1
        return (step, start) if step > 0 and bool((expected == index).all()) else None

    def reads(self, other: Rows, wanted: Sequence[int]) -> tuple[int, ...]:
        """Which displacements of the input the displacements `wanted` of the output read."""
        if self.dense and other.dense:
            return tuple(range(1 - self.size_in, other.size_in))
        found: set[int] = set()
        for d in wanted:
            p = np.arange(max(0, -d), min(self.size, other.size - d))
            i, j = self.index[p][:, :, None], other.index[p + d][:, None, :]
            found.update(np.unique((j - i)[(i >= 0) & (j >= 0)]).tolist())
        return tuple(sorted(found)) or (0,)

    def apply(self, v: Tensor, dim: int) -> Tensor:
        """The map on an ordinary tensor, along one dimension."""
        out: Tensor | float = 0.0
        shape = [1] * v.ndim
        shape[dim] = self.size
        for index, coef in zip(self.index.T, self.coef.T, strict=True):
            taken = v.index_select(dim, torch.from_numpy(index.clip(0)).to(v.device))
            out = out + taken * torch.from_numpy(coef.copy()).to(v).reshape(shape)
        return out  # type: ignore[return-value]


@functools.lru_cache(256)
def _gathered(index: tuple[int, ...], size_in: int) -> Rows:
    """Layers of one size share them: nobody writes to rows, and what is derived from them is derived once."""
    return Rows(([(i, 1.0)] for i in index), size_in)


def congruence(
    rows1: Rows, rows2: Rows, axis: int, grid: Grid, wanted: Planes, moved: bool = True
) -> tuple[Grid, Callable[[Tensor], Tensor]]:
    """The grid of K' = A1 K A2^T along one axis, and the function that maps values of K to values of K'.

    `moved`: planes that are only moved are taken whole, and so must be held where nothing in them exists too.
    """
    out = Grid(
        wanted,
        replace_axis(grid.size1, axis, rows1.size),
        replace_axis(grid.size2, axis, rows2.size),
    )
    step = rows1.progression
    if moved and step is not None and step == rows2.progression:
        return out, functools.partial(_shift, step, axis, grid, out)
    rule = _multiply if rows1.dense and rows2.dense else _gather
    return out, functools.partial(rule, rows1, rows2, axis, grid, out)


def _shift(progression: tuple[int, int], axis: int, grid: Grid, out: Grid, values: Tensor) -> Tensor:
    """Padding, stride and slices move whole planes: plane d of the output is plane step * d of the input."""
    step, start = progression
    n = grid.n
    read = replace_axis(out.planes, axis, tuple(step * d for d in out.planes[axis]))
    values = grid.select(values, read)
    dim = values.ndim - n + axis
    size_in, size = grid.size1[axis], out.size1[axis]
    before = max(0, -(start // step))
    first = start + step * before
    after = max(0, size - before - len(range(first, size_in, step)))
    values = values[(..., slice(first, None, step), *(slice(None),) * (n - 1 - axis))]
    values = values.narrow(dim, 0, size - before - after)
    if before or after:
        values = F.pad(values, [0, 0] * (n - 1 - axis) + [before, after])
    cut = start >= step or any(start + step * o[axis] < i[axis] for o, i in ((out.size1, grid.size1), (out.size2, grid.size2)))
    return out.mask(values) if cut else values  # what was cut off beside the second input is outside now


def _gather(rows1: Rows, rows2: Rows, axis: int, grid: Grid, out: Grid, values: Tensor) -> Tensor:
    """Any pair of sparse maps: one gather for each pair of their slots."""
    n = grid.n
    values = grid.select(values, replace_axis(out.planes, axis, grid.planes[axis]))
    plane_dim, dim = values.ndim - 2 * n + axis, values.ndim - n + axis
    values = values.movedim((plane_dim, dim), (-2, -1))  # (.., P_axis, S_axis)
    flat = values.flatten(-2)
    total = flat.new_zeros(*flat.shape[:-1], len(out.planes[axis]), rows1.size)
    for a in range(rows1.index.shape[1]):
        for b in range(rows2.index.shape[1]):
            index, coef = _slots(rows1, rows2, a, b, grid.planes[axis], out.planes[axis], grid.size1[axis])
            if not coef.any():
                continue
            taken = flat.index_select(-1, torch.from_numpy(index.ravel()).to(flat.device))
            taken = taken.unflatten(-1, index.shape)
            if not (coef == 1).all():
                taken = taken * torch.from_numpy(coef).to(taken)
            total = total + taken
    return total.movedim((-2, -1), (plane_dim, dim))


def _multiply(rows1: Rows, rows2: Rows, axis: int, grid: Grid, out: Grid, values: Tensor) -> Tensor:
    """Dense maps: two matrix products on the whole covariance of one axis.

    In float64, because D' is a difference of such sums, which must cancel at equal inputs in whatever order they are taken.
    """
    n = grid.n
    values = grid.select(values, replace_axis(out.planes, axis, grid.planes[axis]))
    plane_dim, dim = values.ndim - 2 * n + axis, values.ndim - n + axis
    flat = values.movedim((plane_dim, dim), (-2, -1)).flatten(-2)
    size1, size2 = grid.size1[axis], grid.size2[axis]
    have = np.asarray(grid.planes[axis])
    shift = np.arange(size2)[None] - np.arange(size1)[:, None]
    at = np.searchsorted(have, shift).clip(0, len(have) - 1)
    held = have[at] == shift
    index = torch.from_numpy((at * size1 + np.arange(size1)[:, None]).ravel()).to(flat.device)
    covariance = flat.double().index_select(-1, index).unflatten(-1, (size1, size2))
    if not held.all():
        covariance = torch.where(torch.from_numpy(held).to(flat.device), covariance, 0.0)
    first, second = (torch.from_numpy(rows.as_matrix()).to(flat.device) for rows in (rows1, rows2))
    product = (first @ covariance @ second.T).flatten(-2)  # (.., size1 x size2)
    q, inside, whole = out.partner(axis)
    place = torch.arange(rows1.size) * rows2.size + q
    taken = product.index_select(-1, place.flatten().to(flat.device)).unflatten(-1, place.shape).to(values.dtype)
    if not whole:
        taken = torch.where(inside.to(flat.device), taken, 0.0)
    return taken.movedim((-2, -1), (plane_dim, dim))


def _slots(
    rows1: Rows, rows2: Rows, a: int, b: int, have: Sequence[int], want: Sequence[int], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """For one pair of slots: where each output entry reads (flat plane, position), and its coefficient."""
    p = np.arange(rows1.size)[None]
    q = p + np.asarray(want, dtype=np.int64)[:, None]
    inside = (q >= 0) & (q < rows2.size)
    q = q.clip(0, rows2.size - 1)
    i, j = rows1.index[p, a], rows2.index[q, b]
    used = inside & (i >= 0) & (j >= 0)
    lookup = {d: k for k, d in enumerate(have)}
    shift = np.where(used, j - i, have[0])
    plane = np.vectorize(lookup.__getitem__, otypes=[np.int64])(shift)
    return plane * size + i.clip(0), np.where(used, rows1.coef[p, a] * rows2.coef[q, b], 0.0)
