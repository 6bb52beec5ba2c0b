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
from .packing import Layout, Packed, Plane
from .reduction import Gathered

_BLOCK = 1 << 12 if interpreted() else 512
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
    """A reduction from packed planes to packed planes."""

    def __init__(self, tables: list[Table], wanted: list[list[int]], source: Cells, packed: Packed, target: Packed):
        cells = Cells(tuple(target.planes), (target.layout.size, target.layout.size), target.device)
        self.gathered, self.source, self.target = Gathered(tables, wanted, source, cells, packed), packed, target

    def add(self, value: Tensor, out: Tensor, first: bool) -> None:
        """out (pairs planes, fields, positions) += its part of value, or its part where it is the first."""
        if not hasattr(self, "places"):
            self._place()
        g, (one, two) = self.gathered, self.gathered.axes
        total = out.shape[0] * out.shape[2]
        moves.pooled[(-(-total // _BLOCK),)](
            out, value, self.target.plane, g.lookup, *self.places, one.where, two.where, *self.weights, total, self.target.count,
            self.source.count, *g.low, *g.count, **self.target.layout.options,
            **{name + "1": n for name, n in self.source.layout.options.items()}, MOST0=one.most, MOST1=two.most,
            FIELDS=out.shape[1], FIELDS1=value.shape[1], ADD=not first, B=_BLOCK,
        )  # fmt: skip

    def _place(self) -> None:
        """Numbers of displacements, and weights in single precision."""
        self.weights = [axis.weight.float() for axis in self.gathered.axes]
        self.places = []
        for size, wanted in zip(self.target.layout.size, self.gathered.wanted, strict=True):
            found = np.full(2 * size - 1, -1)
            found[np.array(wanted) + size - 1] = np.arange(len(wanted))
            self.places.append(torch.from_numpy(found.astype(np.int32)).to(self.target.device))
