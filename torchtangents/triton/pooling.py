"""Values that are stored packed: which of them may be, and what packed planes add to values, entry by entry."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..covariance.node import Node
from ..cuda import interpreted
from ..engine.lowering import Lowering
from ..engine.segments import Reduction, Segment
from ..engine.tables import Table
from . import moves
from .cells import Cells
from .launch import FUSED, grid
from .packing import Layout, Packed, Plane
from .reduction import Axis, Gathered, reached

_BLOCK, _PAIRS = (1 << 12 if interpreted() else 128), 4  # entries and pairs of a program
_ENTRIES = 4  # of an axis that one position gathers, at most: pools of two
Group = tuple[bool, list[Plane]]  # whether packed, and the planes


def stored_packed(low: Lowering, node: Node, segments: list[tuple[Segment, list[Group]]]) -> list[Plane] | None:
    """The planes of a stored value that are kept in double precision beside packed ones, None where it is not packed.

    It is where all that is made and read in single precision is packed, and nothing in double precision depends on that.
    """
    one, two = low.sizes(node)
    if one != two or low.stored[node] or one == (1, 1) or Layout.of(one) is None:
        return None
    wanted = [(a, b) for a in low.planes(node)[0] for b in low.planes(node)[1]]
    readers = [groups for segment, groups in segments if any(s.stored is node for s in segment.steps)]
    makers = [(r, groups) for segment, groups in segments for r in segment.reductions if r.target is node]
    kept: set[Plane] = set()
    for packed, planes in (group for groups in readers for group in groups):
        kept |= set() if packed else set(planes)
    for reduction, groups in makers:
        for packed, planes in groups:
            found = reached(reduction.tables, planes, wanted)
            if packed and found & kept:
                return None
            kept |= set() if packed else found
    some = all(any(packed for groups in side for packed, _ in groups) for side in (readers, [g for _, g in makers]))
    return sorted(kept) if some and all(few(r) for r, _ in makers) else None


def read_packed(node: Node, segments: list[tuple[Segment, list[Group]]]) -> list[Plane]:
    """The planes of a stored value that are read packed."""
    return sorted({
        (a * step.stride[0], b * step.stride[1])  # type: ignore[index]
        for segment, groups in segments for step in segment.steps if step.stored is node
        for packed, planes in groups if packed for a, b in planes
    })  # fmt: skip


def few(reduction: Reduction) -> bool:
    """Whether every position gathers few entries."""
    return all(
        max(np.bincount(np.asarray(plane) * (max(place, default=0) + 1) + np.asarray(place)), default=0) <= _ENTRIES
        for _, _, _, plane, place, _ in reduction.tables
        if len(plane)
    )


def halves(tables: list[Table], packed: Packed) -> bool:
    """Whether positions 2i and 2i + 1 of planes of even displacement count alike along each axis, and a lane holds both."""
    return all(n % 2 == 0 for n in packed.layout.tile) and all(map(_alike, tables))


def _alike(table: Table) -> bool:
    lowest, positions, start, plane, place, coefficient = table
    first = [d * positions + p for d in range(lowest % 2, (len(start) - 1) // positions, 2) for p in range(0, positions, 2)]
    spans = [slice(*start[e : e + 2]) for e in range(len(start) - 1)]
    found = [tuple(list(of[span]) for of in (plane, place, coefficient)) for span in spans]
    return positions % 2 == 0 and all(found[e] == found[e + 1] for e in first)


class Pooled:
    """A reduction from packed planes, of `fields`, whose result adds up few of them at every entry: packed, or in cells.

    alone: whether nothing else reads the planes, which then may keep sums of two positions (`halved`).
    """

    def __init__(self, gathered: Gathered, target: Packed | Cells, fields: int, alone: bool):
        assert gathered.packed is not None
        self.source, self.target, self.fields = gathered.packed, target, fields
        self.halved = alone and halves(gathered.tables, self.source)
        packed = isinstance(target, Packed)
        self.entries = target.cells if packed else target.total
        self.field = target.layout.positions if packed else 0  # numbers of one, of a packed plane
        lines = _packed_lines(target, gathered.wanted) if packed else _lines(target, gathered.wanted)
        self.offsets, self.weights = self._entries(gathered, lines)
        some = self.weights[self.weights != 0]
        self.uniform = len(some) > 0 and bool((some == some[0]).all())
        if self.uniform:
            self.weights = some[:1].clone()

    def _entries(self, gathered: Gathered, lines: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """(most, entries): where what each adds up lies in a pair of the value, -1 for nothing, and weights."""
        device, before = self.target.device, self.source.layout
        (d0, r, weight0), (d1, s, weight1) = (
            self._line(axis, torch.from_numpy(line).to(device)) for axis, line in zip(gathered.axes, lines, strict=True)
        )
        (low0, low1), (rows, columns) = gathered.low, gathered.count
        d0, r, weight0 = d0[:, :, None] - low0, r[:, :, None], weight0[:, :, None]
        d1, s, weight1 = d1[:, None] - low1, s[:, None], weight1[:, None]
        known = (d0 >= 0) & (d0 < rows) & (d1 >= 0) & (d1 < columns) & (weight0 * weight1 != 0)
        number = gathered.lookup[d0.clamp(0, rows - 1) * columns + d1.clamp(0, columns - 1)].long()
        place = torch.from_numpy(before.places).to(device)[r * before.size[1] + s]
        known = known & (number >= 0)
        offset = torch.where(known, number * (self.fields * before.positions) + place, -1)
        weights = torch.where(known, weight0 * weight1, 0.0)
        return tuple(v.flatten(1).T.contiguous() for v in (offset.int(), weights))  # type: ignore[return-value]

    def _line(self, axis: Axis, line: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Displacement, position and weight of what each entry adds up along an axis, (entries, most) each."""
        d, p = axis.where[line.clamp_min(0)].long().unbind(2)
        weight = axis.weight[line.clamp_min(0)] * (line >= 0)[:, None]
        if self.halved:  # position p - 1 holds the sum
            weight = torch.where((d % 2 == 0) & (p % 2 == 1), 0.0, weight)
        order = (weight != 0).int().argsort(dim=1, descending=True, stable=True)[:, : int((weight != 0).sum(1).max())]
        return d.gather(1, order), p.gather(1, order), weight.gather(1, order)

    def add(self, value: Tensor, out: Tensor, pairs: int, first: bool, ntk: bool) -> None:
        """out += its part of value, or its part where it is the first; cells are (fields, pairs, cells)."""
        moves.pooled[grid(self.entries, pairs, (_PAIRS, _BLOCK))](
            out, value, self.offsets, self.weights, pairs, self.entries, value.numel() // pairs,
            HW=self.field, MOST=len(self.offsets), HW1=self.source.layout.positions, NTK=ntk, ADD=not first,
            UNIFORM=self.uniform, PB=_PAIRS, B=_BLOCK, **FUSED,
        )  # fmt: skip


def _lines(target: Cells, wanted: list[list[int]]) -> list[np.ndarray]:
    """For every entry of the target and axis the line of its displacement and position."""
    which, *at = target.coordinates.T
    planes = np.array(target.planes)
    return [np.searchsorted(w, planes[which, axis]) * target.sizes[0][axis] + at[axis] for axis, w in enumerate(wanted)]


def _packed_lines(target: Packed, wanted: list[list[int]]) -> list[np.ndarray]:
    """The same, -1 where the plane is not wanted."""
    at = np.divmod(np.argsort(target.layout.places), target.layout.size[1])
    residues = np.array(target.residues)
    out = []
    for axis, size in enumerate(target.layout.size):
        d = residues[:, axis][:, None] + np.zeros_like(at[axis])
        d = np.where(at[axis] + d < size, d, d - size)
        number = np.full(2 * size, -1)
        number[np.array(wanted[axis])] = np.arange(len(wanted[axis]))
        out.append(np.where(number[d] >= 0, number[d] * size + at[axis], -1).reshape(-1))
    return out
