"""Which entries of a covariance over positions are held: displacement planes, as a product over the axes.

Plane d of K holds K(p, p + d) for every position p of the first input. A set of planes is a product of
per-axis sorted displacements, so values have the shape (*batch, P_1 .. P_n, S_1 .. S_n). An entry whose
second position p + d lies outside is exactly 0.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

Planes = tuple[tuple[int, ...], ...]
Size = tuple[int, ...]


def zero_planes(n: int) -> Planes:
    """The single plane d = 0 of n axes."""
    return ((0,),) * n


def every_plane(size1: Size, size2: Size) -> Planes:
    """All displacements between two sets of positions."""
    return tuple(tuple(range(1 - a, b)) for a, b in zip(size1, size2, strict=True))


def union(first: Planes | None, second: Planes | None) -> Planes | None:
    """The product hull of two sets of planes; None is the empty set."""
    if first is None or second is None:
        return second if first is None else first
    return tuple(tuple(sorted({*a, *b})) for a, b in zip(first, second, strict=True))


def replace_axis(items: tuple, axis: int, value: object) -> tuple:
    """The tuple with one entry exchanged."""
    return (*items[:axis], value, *items[axis + 1 :])


@functools.lru_cache(maxsize=4096)
def _partner(displacements: tuple[int, ...], size1: int, size2: int) -> tuple[Tensor, Tensor, bool]:
    """Index of p + d clamped into range, whether it was in range, and whether all were: (P, S1) twice."""
    with torch.inference_mode(False):  # kept for later calls, which may differentiate
        q = torch.arange(size1) + torch.tensor(displacements, dtype=torch.long)[:, None]
        inside = (q >= 0) & (q < size2)
        return q.clamp(0, max(size2 - 1, 0)), inside, bool(inside.all())


@dataclass(frozen=True)
class Grid:
    """The planes held, and the number of positions on each axis of both inputs."""

    planes: Planes
    size1: Size
    size2: Size

    @property
    def n(self) -> int:
        """Number of position axes."""
        return len(self.size1)

    @property
    def entries(self) -> int:
        """Number of values held for one pair of inputs."""
        count = 1
        for planes, size in zip(self.planes, self.size1, strict=True):
            count *= len(planes) * size
        return count

    def partner(self, axis: int) -> tuple[Tensor, Tensor, bool]:
        """Along one axis: the clamped index of p + d (P, S1), whether it exists, whether all do."""
        return _partner(self.planes[axis], self.size1[axis], self.size2[axis])

    def spread(self, table: Tensor, axis: int) -> Tensor:
        """A (P, S1) table of one axis, shaped to broadcast against values."""
        shape = [1] * (2 * self.n)
        shape[axis], shape[self.n + axis] = table.shape
        return table.reshape(shape)

    def mask(self, values: Tensor) -> Tensor:
        """Set what lies outside to exactly 0; values (*batch, P.., S..)."""
        inside = _inside(self, values.dtype, values.device)
        return values if inside is None else values * inside

    def left(self, v: Tensor) -> Tensor:
        """v at the first position: (*batch, *S1) -> (*batch, 1.., *S1), which broadcasts."""
        batch = v.ndim - self.n
        return v.reshape(*v.shape[:batch], *(1,) * self.n, *self.size1)

    def right(self, v: Tensor) -> Tensor:
        """v at the second position p + d, 0 outside: (*batch, *S2) -> (*batch, P.., *S1)."""
        n, batch = self.n, v.ndim - self.n
        if self.planes == zero_planes(n) and self.size1 == self.size2:
            return self.left(v)
        for axis in reversed(range(n)):
            index, _, _ = self.partner(axis)
            v = v.index_select(batch + axis, index.flatten().to(v.device))
            v = v.unflatten(batch + axis, index.shape)
        order = [batch + 2 * a for a in range(n)] + [batch + 2 * a + 1 for a in range(n)]
        return self.mask(v.permute(*range(batch), *order))

    def select(self, values: Tensor, planes: Planes) -> Tensor:
        """Some of the planes that are held."""
        start = values.ndim - 2 * self.n
        for axis, (have, want) in enumerate(zip(self.planes, planes, strict=True)):
            if have != want:
                at = {d: i for i, d in enumerate(have)}
                index = torch.tensor([at[d] for d in want], dtype=torch.long, device=values.device)
                values = values.index_select(start + axis, index)
        return values

    def at_planes(self, dense: Tensor) -> Tensor:
        """The planes (*batch, P.., S..) of a whole covariance (*batch, *S1, *S2)."""
        n, batch = self.n, dense.ndim - 2 * self.n
        if not n:
            return dense
        index = [self.spread(torch.arange(self.size1[axis])[None], axis) for axis in range(n)]
        index += [self.spread(self.partner(axis)[0], axis) for axis in range(n)]
        return self.mask(dense[(slice(None),) * batch + tuple(i.to(dense.device) for i in index)])

    def dense(self, values: Tensor) -> Tensor:
        """(*batch, *S1, *S2) with zeros where no plane is held."""
        n = self.n
        batch = values.shape[: values.ndim - 2 * n]
        out = values.new_zeros(*batch, *self.size1, *self.size2)
        if not n:
            return out + values
        for places in itertools.product(*(range(len(p)) for p in self.planes)):
            shift = [self.planes[a][i] for a, i in enumerate(places)]
            spans = [(max(0, -d), min(s1, s2 - d)) for d, s1, s2 in zip(shift, self.size1, self.size2, strict=True)]
            if any(lo >= hi for lo, hi in spans):
                continue
            axes = [torch.arange(lo, hi, device=values.device) for lo, hi in spans]
            p = torch.meshgrid(*axes, indexing="ij")
            q = [x + d for x, d in zip(p, shift, strict=True)]
            out[(..., *p, *q)] = values[(..., *places, *p)]
        return out


@functools.lru_cache(maxsize=128)
def _inside(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """1 where p + d exists and 0 elsewhere, (P.., S..); None where all do."""
    inside: Tensor | None = None
    for axis in range(grid.n):
        _, exists, whole = grid.partner(axis)
        if not whole:
            with torch.inference_mode(False):  # kept for later calls, which may differentiate
                factor = grid.spread(exists, axis).to(device, dtype)
                inside = factor if inside is None else inside * factor
    return inside
