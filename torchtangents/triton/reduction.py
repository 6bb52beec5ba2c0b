"""Reductions: what a segment's result adds to a stored value, from the tables of torchtangents/engine/tables.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..covariance.node import Node
from ..engine.lowering import Lowering
from ..engine.tables import Table
from . import kernels
from .cells import Cells
from .launch import FUSED, blocks, grid
from .packing import Layout, Packed


class Axis:
    """One axis of a reduction, gathered: for every displacement and row of the target its entries in the value."""

    def __init__(self, table: Table, wanted: list[int], rows: int, device: torch.device):
        lowest, positions, start, plane, place, coefficient = table
        found: list[list[tuple[int, int, float]]] = [[] for _ in range(len(wanted) * rows)]
        for entry in range(len(start) - 1):
            d, p = lowest + entry // positions, entry % positions
            for at in range(start[entry], start[entry + 1]):
                found[plane[at] * rows + place[at]].append((d, p, coefficient[at]))
        self.rows, self.most = rows, max(1, max(map(len, found), default=1))
        where = np.zeros((len(found), self.most, 2), dtype=np.int32)
        weight = np.zeros((len(found), self.most))
        for line, entries in enumerate(found):
            for k, (d, p, c) in enumerate(entries):
                where[line, k], weight[line, k] = (d, p), c
        self.where, self.weight = torch.from_numpy(where).to(device), torch.from_numpy(weight).to(device)


def reached(tables: list[Table], planes: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """The planes of a target that some planes of a value add to."""
    to: list[dict[int, set[int]]] = [{}, {}]
    for axis, (lowest, positions, start, plane, _, _) in enumerate(tables):
        places = sorted({d[axis] for d in wanted})
        for entry in range(len(start) - 1):
            found = {places[plane[at]] for at in range(start[entry], start[entry + 1])}
            to[axis].setdefault(lowest + entry // positions, set()).update(found)
    return {(a, b) for d0, d1 in planes for a in to[0].get(d0, ()) for b in to[1].get(d1, ())} & set(wanted)


def wanted_of(low: Lowering, node: Node) -> list[list[int]]:
    """Displacements of a stored value along both axes, as tables number them."""
    return [sorted(places) for places in low.planes(node)]


class Gathered:
    """A reduction from cells of one precision to a stored value; `wanted`: displacements that the tables number, of each axis."""

    def __init__(
        self, tables: list[Table], wanted: list[list[int]], source: Cells, target: Cells, packed: Packed | None = None
    ):  # fmt: skip
        self.tables, self.wanted, self.target, self.source, self.packed = tables, wanted, target, source, packed
        self.low = [min(d[a] for d in source.planes) for a in range(2)]
        self.count = [max(d[a] for d in source.planes) - self.low[a] + 1 for a in range(2)]

    @cached_property
    def axes(self) -> list[Axis]:
        """Both axes of what every cell of the target gathers."""
        rows = self.target.sizes[0]
        return [Axis(*chosen, self.target.device) for chosen in zip(self.tables, self.wanted, rows, strict=True)]

    @cached_property
    def touched(self) -> tuple[Tensor, Tensor]:
        """The cells of the target that add something up, (cells, 3), and where they are."""
        found = reached(self.tables, list(self.source.planes), [(a, b) for a in self.wanted[0] for b in self.wanted[1]])
        some = np.array([plane in found for plane in self.target.planes], dtype=bool)
        place = np.flatnonzero(some[self.target.coordinates[:, 0]])
        return self.target.whole(self.target.coordinates[place]), self.target.whole(place)

    @cached_property
    def plane(self) -> Tensor:
        """(planes of the target, 2): the numbers of their displacements."""
        index = [{d: i for i, d in enumerate(where)} for where in self.wanted]
        return self.target.whole(np.array([(index[0][a], index[1][b]) for a, b in self.target.planes]))

    @cached_property
    def lookup(self) -> Tensor:
        """The value's planes by displacement."""
        box = [(self.low[0] + i, self.low[1] + j) for i in range(self.count[0]) for j in range(self.count[1])]
        return self.packed.numbered(box, self.source.planes) if self.packed else self.source.source(box)

    @cached_property
    def uniform(self) -> float | None:
        """What all cells count in a target that is one number, where that is the same."""
        if self.target.total != 1:
            return None
        product = 1.0
        for axis, held in enumerate(self._counts()):
            lowest, positions = self.tables[axis][:2]
            d = np.array(sorted({plane[axis] for plane in self.source.planes}))[:, None]
            p = np.arange(positions)[None]
            found = held[(d - lowest) * positions + p][(p + d >= 0) & (p + d < self.source.sizes[1][axis])]
            if not len(found) or not np.allclose(found, found[0], rtol=1e-12, atol=0.0):
                return None
            product *= float(found[0])
        return product

    @cached_property
    def weights(self) -> Tensor | None:
        """What every cell of the value counts in a target that is one number."""
        if self.target.total != 1:
            return None
        total = np.ones(self.source.total)
        displacement = np.array(self.source.planes)[self.source.coordinates[:, 0]]
        for axis, held in enumerate(self._counts()):
            lowest, positions = self.tables[axis][:2]
            total *= held[(displacement[:, axis] - lowest) * positions + self.source.coordinates[:, 1 + axis]]
        weights = torch.from_numpy(total).to(self.target.device)
        return self._packed(weights, self.packed) if self.packed else weights

    def _counts(self) -> Iterator[np.ndarray]:
        """The sum of the coefficients of every entry of an axis."""
        for _, _, start, _, _, coefficient in self.tables:
            held = np.concatenate([[0.0], np.cumsum(coefficient)])[np.asarray(start)]
            yield held[1:] - held[:-1]

    def _packed(self, weights: Tensor, packed: Packed) -> Tensor:
        """The weights in the order of packed planes."""
        (h, w), places = packed.layout.size, packed.layout.places
        out = torch.zeros(packed.count, packed.layout.positions, dtype=weights.dtype, device=weights.device)
        which, y, x = self.source.coordinates.T
        plane = [packed.index[a % h, b % w] for a, b in self.source.planes]
        out[np.array(plane)[which], places[y * w + x]] = weights
        return out.flatten()

    def add(self, value: Tensor, target: Tensor, ntk: bool) -> None:
        """target (fields, pairs, cells) += its part of value: (fields, pairs, cells), or (pairs planes, fields, cells) packed."""
        pairs = target.shape[1]
        if self.weights is not None:
            if self.packed:
                value = value.view(pairs, self.packed.count, -1, value.shape[2]).permute(2, 0, 1, 3)
            for field in range(1 + ntk):
                target[field, :, 0] += value[field].reshape(pairs, -1).double() @ self.weights
            return
        if not self.target.total:
            return
        (cell, place), (one, two) = self.touched, self.axes
        if not len(place):
            return
        block = blocks(len(place), pairs)
        if self.packed:
            cells, stride, fields = self.packed.cells * value.shape[1], value.shape[2], value.shape[1]
            options = self.packed.layout.options
        else:
            cells, stride, fields, options = self.source.total, value.stride(0), 0, Layout.of((1, 1)).options  # type: ignore[union-attr]
        kernels.reduce[grid(len(place), pairs, block)](
            target, value, cell, place, self.plane, self.lookup, one.where, two.where, one.weight, two.weight, pairs, len(place),
            self.target.total, cells, stride, one.rows, two.rows, self.low[0], self.low[1], self.count[0], self.count[1],
            one.most, two.most,
            NTK=ntk, FIELDS=fields, PB=block[0], CB=block[1], **options, **FUSED,
        )  # fmt: skip

    def add_sums(self, sums: Tensor, target: Tensor) -> None:
        """The same of one number, from sums over all cells, (pairs, fields)."""
        assert self.uniform is not None
        target[..., 0] += self.uniform * sums.T
