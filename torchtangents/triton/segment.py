"""A segment on the planes of one precision: its steps as launches, then what its result adds to stored values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..covariance.node import Node
from ..covariance.refusal import NotNative
from ..engine.lowering import Lowering
from ..engine.segments import Gather, Segment, Step
from . import kernels
from .cells import Cells
from .launch import FUSED, Numbers, Operations, blocks, empty, grid, operations
from .packing import Packed
from .reduction import Gathered, wanted_of

_TAPS = 64  # of a window
MAP, INPUT, ADD = range(3)  # as in kernels.py


class Tile:
    """Pairs of some rows and columns, with the stored values so far: plane by plane in double precision, and packed in single."""

    def __init__(self, rows: slice, columns: slice, stored: dict[Node, Tensor], shared: bool):
        self.row0, self.rows = rows.start, rows.stop - rows.start
        self.column0, self.columns = columns.start, columns.stop - columns.start
        self.pairs, self.stored, self.shared = self.rows * self.columns, stored, shared
        self.packed: dict[Node, Tensor] = {}
        self.begun: set[Node] = set()  # packed values that something was added to
        self.joined: set[Node] = set()  # those with all that is stored plane by plane

    def beside(self, node: Node, packed: Packed, fields: int) -> Tensor:
        """The packed planes of a stored value, (pairs planes, fields, positions)."""
        if node not in self.packed:
            shape = (self.pairs * packed.count, fields, packed.layout.positions)
            self.packed[node] = torch.empty(shape, dtype=torch.float32, device=packed.device)
        return self.packed[node]


class Launches:
    """The steps of a segment on `planes`, all of one precision."""

    def __init__(
        self, low: Lowering, segment: Segment, planes: list[tuple[int, int]], wide: int, exact: bool, ntk: bool,
        stored: dict[Node, Cells], numbers: Numbers, place: Callable[[Node, str, bool], int], device: torch.device,
    ):  # fmt: skip
        self.low, self.segment, self.planes, self.wide, self.exact, self.ntk = low, segment, planes, wide, exact, ntk
        self.numbers, self.stored, self.device = numbers, stored, device
        self.dtype = torch.float64 if wide else torch.float32
        self.fields = 1 + ntk + exact
        self.cells = {id(s): Cells(tuple(self._displaced(s)), low.sizes(s.node), device) for s in segment.steps}
        self.last = {id(source): i for i, s in enumerate(segment.steps) for source in s.sources}
        self.tables: list[Operations] = []
        for s in segment.steps:
            places = [[place(o.node, name, o.root) for name in o.slots] for o in s.operations]
            weights = (
                (*s.weights, 0.0)[:2]
                if len(s.sources) < 3 and s.gather == Gather.MIX
                else (1.0, s.weights[-1] if s.weights else 0.0)
            )
            self.tables.append(operations(s.operations, places, numbers, weights))  # type: ignore[arg-type]
            if s.gather == Gather.MAP and len(s.taps[0][1]) * len(s.taps[1][1]) > _TAPS:
                raise NotNative(f"{s.node.layer}: a window of more than {_TAPS} positions has no rule on this device")
        self.sources = {id(s): self._source(s) for s in segment.steps}
        end = self.result
        self.reductions = [
            (r.target, Gathered(r.tables, wanted_of(low, r.target), end, stored[r.target])) for r in segment.reductions
        ]

    def _displaced(self, step: Step) -> list[tuple[int, int]]:
        assert step.stride is not None
        return [(a * step.stride[0], b * step.stride[1]) for a, b in self.planes]

    def _source(self, step: Step) -> Tensor:
        """Where each plane of a step finds the one that it reads."""
        own = self.cells[id(step)]
        came = self.stored[step.stored] if step.stored else self.cells[id(step.sources[0])] if step.gather == Gather.MAP else own
        down, across = (taps[0] if step.gather == Gather.MAP else 1 for taps in step.taps)
        return came.source([(a * down, b * across) for a, b in own.planes])

    @property
    def result(self) -> Cells:
        """The cells of the last step."""
        return self.cells[id(self.segment.steps[-1])]

    @cached_property
    def dense(self) -> Tensor:
        """Where every cell of the result lies in the kernel of a pair, (positions of x1, positions of x2)."""
        (_, w1), (h2, w2) = self.result.sizes
        which, y, x = self.result.coordinates.T
        d = np.array(self.result.planes).reshape(-1, 2)[which]
        place = (y * w1 + x) * (h2 * w2) + (y + d[:, 0]) * w2 + x + d[:, 1]
        return torch.from_numpy(place).to(self.device)

    def most(self) -> int:
        """Bytes of all steps of a pair."""
        return sum(c.total for c in self.cells.values()) * self.fields * self.dtype.itemsize

    def of_an_input(self) -> int:
        """Bytes of what is kept of one input besides."""
        return 0

    def run(self, tile: Tile, x1: Tensor, x2: Tensor) -> Tensor:
        """The last step's value, (fields, pairs, cells); reductions are added to what is stored."""
        values: dict[int, Tensor] = {}
        for number, step in enumerate(self.segment.steps):
            values[id(step)] = self._step(step, self.tables[number], values, tile, x1, x2)
            for source in step.sources:
                if self.last[id(source)] == number:
                    values.pop(id(source), None)
        out = values[id(self.segment.steps[-1])]
        for target, gathered in self.reductions:
            gathered.add(out, tile.stored[target], self.ntk)
        return out

    def _step(self, step: Step, table: Operations, values: dict[int, Tensor], tile: Tile, x1: Tensor, x2: Tensor) -> Tensor:
        cells = self.cells[id(step)]
        out = empty(cells, tile.pairs, self.fields, self.dtype)
        if not cells.total or not tile.pairs:
            return out
        first = second = out
        came, taps, gather, loaded = cells, [(1, [0]), (1, [0])], MAP, False
        if step.gather == Gather.INPUT:
            gather = INPUT
        elif step.gather == Gather.LOAD:
            assert step.stored is not None
            first, came, loaded = tile.stored[step.stored], self.stored[step.stored], True
        elif step.gather == Gather.MAP:
            first, came, taps = values[id(step.sources[0])], self.cells[id(step.sources[0])], step.taps
        else:
            gather = ADD
            first = self._partial(step, values)
            second = values[id(step.sources[-1])] if len(step.sources) > 1 else first
        block = blocks(cells.total, tile.pairs)
        (positions1, positions2), channels, (at1, at2) = self._data(step)
        sizes1, sizes2 = cells.sizes
        kernels.step[grid(cells.total, tile.pairs, block)](
            out, first, second, x1[:, at1:], x2[:, at2:], self.numbers.one, self.numbers.two, cells.cell, cells.plane,
            self.sources[id(step)], table.slots, table.consts, table.tables, tile.pairs, tile.columns, tile.row0, tile.column0,
            cells.total, came.total, sizes1[1], sizes2[1], positions1, positions2, x1.shape[1], x2.shape[1], channels,
            STEP0=taps[0][0], STEP1=taps[1][0], OFF0=tuple(taps[0][1]), OFF1=tuple(taps[1][1]), N0=len(taps[0][1]),
            N1=len(taps[1][1]), GATHER=gather, NTK=self.ntk, EXACT=self.exact, LOADED=loaded, WIDE=self.wide, SHARED=tile.shared,
            PB=block[0], CB=block[1], **table.options, **FUSED,
        )  # fmt: skip
        return out

    def _partial(self, step: Step, values: dict[int, Tensor]) -> Tensor:
        """The first branch of a sum, or the weighted sum of all but the last."""
        sources = [values[id(s)] for s in step.sources]
        if len(sources) < 3:
            return sources[0]
        return sum(w * v for w, v in zip(step.weights[:-1], sources[:-1], strict=True))  # type: ignore[return-value]

    def _data(self, step: Step) -> tuple[tuple[int, int], int, tuple[int, int]]:
        """Positions of both inputs, channels, and where the data start, of a step that reads them."""
        node, low = step.source, self.low
        if node is None:
            return (1, 1), 1, (0, 0)
        twin = low.twin[node]
        positions = tuple(int(np.prod(n.values.shape[2:])) for n in (node, twin))  # type: ignore[attr-defined]
        return positions, node.values.shape[1], (low.inputs1.offset[node], low.inputs2.offset[twin])  # type: ignore[return-value,index]
