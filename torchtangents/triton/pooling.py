"""Values that are stored packed: which of them may be, and what a segment's packed planes add to them."""

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
from .launch import grid
from .packing import Layout, Packed, Plane
from .reduction import Gathered

_BLOCK, _PAIRS = (1 << 12, 16) if interpreted() else (128, 4)  # entries and pairs of a program
_ENTRIES = 4  # of an axis that one position gathers, at most: pools of two
Group = tuple[bool, list[Plane]]  # whether packed, and the planes


def reached(tables: list[Table], planes: list[Plane], wanted: list[Plane]) -> set[Plane]:
    """The planes of a target that some planes of a value add to."""
    to: list[dict[int, set[int]]] = [{}, {}]
    for axis, (lowest, positions, start, plane, _, _) in enumerate(tables):
        places = sorted({d[axis] for d in wanted})
        for entry in range(len(start) - 1):
            found = {places[plane[at]] for at in range(start[entry], start[entry + 1])}
            to[axis].setdefault(lowest + entry // positions, set()).update(found)
    return {(a, b) for d0, d1 in planes for a in to[0].get(d0, ()) for b in to[1].get(d1, ())} & set(wanted)


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
    return sorted(kept) if some and all(_few(r) for r, _ in makers) else None


def _few(reduction: Reduction) -> bool:
    """Whether every position gathers few entries."""
    return all(
        max(np.bincount(np.asarray(plane) * (max(place, default=0) + 1) + np.asarray(place)), default=0) <= _ENTRIES
        for _, _, _, plane, place, _ in reduction.tables
        if len(plane)
    )


class Pooled:
    """A reduction from packed planes, of `fields`, to packed planes."""

    def __init__(
        self, tables: list[Table], wanted: list[list[int]], source: Cells, packed: Packed, target: Packed, fields: int
    ):  # fmt: skip
        self.source, self.target, self.fields = packed, target, fields
        size = target.layout.size
        cells = Cells(tuple(target.planes), (size, size), target.device)
        self.offsets, self.weights = self._entries(Gathered(tables, wanted, source, cells, packed))

    def _entries(self, gathered: Gathered) -> tuple[Tensor, Tensor]:
        """(most, entries of a pair): where what each entry of the target adds up lies in a pair of the value, and weights."""
        device, before = self.target.device, self.source.layout
        axes = gathered.axes
        lines = self._lines(gathered.wanted)
        where = [axis.where[line] for axis, line in zip(axes, lines, strict=True)]  # (entries, most, 2)
        weight = [axis.weight[line] * (line >= 0)[:, None] for axis, line in zip(axes, lines, strict=True)]
        d0, d1 = (w[..., 0].long() - low for w, low in zip(where, gathered.low, strict=True))
        rows, columns = gathered.count
        d0, r = d0[:, :, None], where[0][:, :, None, 1].long()
        d1, s = d1[:, None], where[1][:, None, :, 1].long()
        known = (d0 >= 0) & (d0 < rows) & (d1 >= 0) & (d1 < columns)
        number = gathered.lookup[d0.clamp(0, rows - 1) * columns + d1.clamp(0, columns - 1)].long()
        known = known & (number >= 0)
        place = torch.from_numpy(before.places).to(device)[r * before.size[1] + s]
        offset = torch.where(known, number * (self.fields * before.positions) + place, 0)
        weights = torch.where(known, weight[0][:, :, None] * weight[1][:, None], 0.0)
        return tuple(v.flatten(1).T.contiguous() for v in (offset.int(), weights.float()))  # type: ignore[return-value]

    def _lines(self, wanted: list[list[int]]) -> list[Tensor]:
        """For every entry of the target and axis the line of its displacement and position, -1 where the plane is not wanted."""
        y, x = np.divmod(np.argsort(self.target.layout.places), self.target.layout.size[1])
        residues = np.array(self.target.residues)
        out = []
        for axis, (at, size) in enumerate(zip((y, x), self.target.layout.size, strict=True)):
            d = residues[:, axis][:, None] + np.zeros_like(at)
            d = np.where(at + d < size, d, d - size)
            number = np.full(2 * size, -1)
            number[np.array(wanted[axis])] = np.arange(len(wanted[axis]))
            line = np.where(number[d] >= 0, number[d] * size + at, -1)
            out.append(torch.from_numpy(line.reshape(-1)).to(self.target.device))
        return out

    def add(self, value: Tensor, out: Tensor, pairs: int, first: bool) -> None:
        """out (pairs planes, fields, positions) += its part of value, or its part where it is the first."""
        entries = self.target.cells
        moves.pooled[grid(entries, pairs, (_PAIRS, _BLOCK))](
            out, value, self.offsets, self.weights, pairs, entries, value.numel() // pairs, HW=self.target.layout.positions,
            MOST=len(self.offsets), HW1=self.source.layout.positions, FIELDS=out.shape[1], ADD=not first, PB=_PAIRS, B=_BLOCK,
        )  # fmt: skip
