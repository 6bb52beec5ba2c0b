"""The packed planes of a segment: its schedule, the tables of a tile, and its launches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..covariance.node import Node
from ..cuda import interpreted
from ..engine.lowering import Lowering
from ..engine.segments import Reduction, Segment
from . import moves
from .cells import Cells
from .launch import FUSED, Numbers
from .packing import Layout, Packed
from .pooling import Pooled, few
from .reduction import Gathered, wanted_of
from .runs import Launch
from .schedule import Level, Move, Run, Schedule, fits
from .segment import Tile
from .spread import Spread

_BLOCK = 1 << 12 if interpreted() else 512
_MOST = 128  # registers of values: more are spilled


class PackedLaunches:
    """A segment on `planes` of one precision (0 single, 1 double, 2 double of numbers that fit single), packed."""

    def __init__(
        self, low: Lowering, segment: Segment, planes: list[tuple[int, int]], wide: int, exact: bool, ntk: bool,
        stored: dict[Node, Cells], beside: dict[Node, Packed], numbers: Numbers, place: Callable[[Node, str, bool], int],
        device: torch.device,
    ):  # fmt: skip
        self.low, self.wide, self.exact, self.ntk, self.stored = low, wide, exact, ntk, stored
        self.beside = {} if wide else beside
        self.dtype = torch.float64 if wide else torch.float32
        self.numbers, self.device = numbers, device
        self.steps, self.fields = segment.steps, 1 + ntk + exact
        levels: list[Level] = [(low.sizes(s.node)[0], s.stride) for s in self.steps]
        self.packed = {level: _packed(level, planes, bool(wide), device) for level in set(levels)}
        self.end = levels[-1]
        cells = Cells(tuple(planes), low.sizes(self.steps[-1].node), device)
        alone = len(segment.reductions) == 1
        self.reductions = [(r.target, self._reduction(r, cells, alone)) for r in segment.reductions]
        self.spread = next((s for _, s in self.reductions if isinstance(s, Spread)), None)
        self.summed = self.packed[self.end].whole and all(
            isinstance(g, Gathered) and g.uniform is not None for _, g in self.reductions
        )
        self.last = len(self.steps) - 1
        self.halved = any(isinstance(g, Pooled) and g.halved for _, g in self.reductions)
        self.schedule = Schedule(self.steps, levels, keep_last=not (self.summed or self.spread))
        halved = self.last if self.halved else None
        self.runs = [
            Launch(run, self.schedule, self.packed[run.level], self._slots(run, place), wide, halved, device)
            for run in self.schedule.launches
            if isinstance(run, Run)
        ]
        self.entries = {id(r): self._entries(r) for r in self.runs}
        loads = {m.step: self.steps[m.step].stored for m in self.schedule.launches if isinstance(m, Move) and m.source is None}
        self.found_in = {
            step: self.packed[levels[step]].found_in(stored[node])  # type: ignore[index]
            for step, node in loads.items()
            if node not in self.beside
        }
        both = {step: node for step, node in loads.items() if node in self.beside}
        self.joining = {node: self.beside[node].joining(stored[node], self.fields) for node in both.values()}
        self.in_place = {  # levels whose one value lies where it was added up
            levels[step]: node
            for step, node in both.items()
            if self.schedule.alone(~step) and self.packed[levels[step]].residues == self.beside[node].residues
        }

    @staticmethod
    def fits(low: Lowering, segment: Segment, wide: int, fields: int) -> bool:
        """Whether every step has instructions, and every value a layout that a warp can hold."""
        if segment.output or not fits(segment.steps):
            return False
        sizes = {low.sizes(s.node) for s in segment.steps}
        return all(one == two and one != (1, 1) and _held(one, wide, fields) for one, two in sizes)

    def most(self) -> int:
        """Bytes of what is kept of a pair, and of sums of its planes in both precisions; so units are fewer than 2^31."""
        levels = [(self.packed[level], n) for level, n in self.schedule.most.items() if level not in self.in_place]
        kept = sum(self.dtype.itemsize * self.fields * n * packed.cells for packed, n in levels)
        return kept + 24 * max(p.count for p in self.packed.values())

    def of_an_input(self) -> int:
        """Bytes of the tables of one input."""
        return max(self.dtype.itemsize * len(r.packed.layout.turned) * r.numbers for r in self.runs)

    def run(self, tile: Tile, x1: Tensor, x2: Tensor) -> None:
        """Adds to what is stored."""
        memory = {}
        for level, values in self.schedule.most.items():
            packed = self.packed[level]
            if level in self.in_place:
                memory[level] = self._joined(self.in_place[level], tile)[None]
                continue
            shape = (values, tile.pairs * packed.count, self.fields, packed.layout.positions)
            memory[level] = torch.empty(shape, dtype=self.dtype, device=self.device)
        sums = torch.empty(tile.pairs, self.packed[self.end].count, 1 + self.ntk, dtype=self.dtype, device=self.device)
        runs = iter(self.runs)
        for launch in self.schedule.launches:
            if isinstance(launch, Move):
                if launch.source is not None or launch.level not in self.in_place:
                    self._move(launch, memory, tile)
            else:
                one, two = self._tables(run := next(runs), tile, x1, x2)
                given = memory.get(launch.level, sums), one, two, tile, self.ntk, self.exact
                if launch is not self.schedule.launches[-1]:
                    run(*given)
                elif self.spread:
                    ((node, _),) = self.reductions
                    out = tile.beside(node, self.spread.target, 1 + self.ntk)
                    for lines in self.spread.launches:
                        run(*given, out, self.spread, lines, node not in tile.begun)
                        tile.begun.add(node)
                else:
                    run(*given, sums if self.summed else None)
        if self.spread:
            return
        value = sums if self.summed else memory[self.end][self.schedule.places[self.last]]
        for target, reduction in self.reductions:
            if target in self.beside:
                out, first = tile.beside(target, self.beside[target], 1 + self.ntk), target not in tile.begun
                reduction.add(value, out, tile.pairs, first, self.ntk)  # type: ignore[union-attr,call-arg]
                tile.begun.add(target)
            elif isinstance(reduction, Pooled):
                reduction.add(value, tile.stored[target], tile.pairs, False, self.ntk)
            elif self.summed:
                reduction.add_sums(value.double().sum(1), tile.stored[target])
            else:
                reduction.add(value, tile.stored[target], self.ntk)

    def _reduction(self, r: Reduction, cells: Cells, alone: bool) -> Gathered | Pooled | Spread:
        wanted, packed = wanted_of(self.low, r.target), self.packed[self.end]
        if (other := self.beside.get(r.target)) is not None:
            size = other.layout.size
            every = Cells(tuple(other.planes), (size, size), self.device)
            gathered = Gathered(r.tables, wanted, cells, every, packed)
            added = Spread.of(gathered, other, cells.planes) if alone and not self.exact else None
            return added or Pooled(gathered, other, self.fields, alone)
        gathered = Gathered(r.tables, wanted, cells, self.stored[r.target], packed)
        some = self.stored[r.target].total > 1 and few(r)
        return Pooled(gathered, self.stored[r.target], self.fields, alone) if some else gathered

    def _slots(self, run: Run, place: Callable[[Node, str, bool], int]) -> list[int]:
        """The numbers that the ReLUs of a run read."""
        found = [self.steps[i.relu[0]].operations[i.relu[1]] for i in run.instructions if i.relu]
        return [place(o.node, o.slots[0], o.root) for o in found]

    def _entries(self, run: Launch) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Where the tables of both sides come from, in data and in numbers."""
        low, node, count = self.low, run.source, run.packed.layout.positions
        starts = [[inputs.offset[n] + c * count for c in range(run.channels)] for inputs, n in (  # type: ignore[index]
            (low.inputs1, node), (low.inputs2, node and low.twin[node]))]  # fmt: skip
        one, two = ([begin[s] for s in run.slots] for begin in (self.numbers.begin1, self.numbers.begin2))
        entries = run.packed.entries
        return (entries(starts[0], False), entries(one, False)), (entries(starts[1], True), entries(two, True))

    def _tables(self, run: Launch, tile: Tile, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Data and numbers of the inputs of a tile, (inputs, values, entries) for both sides."""
        rows, columns = slice(tile.row0, tile.row0 + tile.rows), slice(tile.column0, tile.column0 + tile.columns)
        (data1, own1), (data2, own2) = self.entries[id(run)]
        one = torch.cat([x1[rows][:, data1].to(self.dtype), self.numbers.one[rows][:, own1]], 1)
        two = torch.cat([x2[columns][:, data2].to(self.dtype), self.numbers.two[columns][:, own2]], 1)
        return one, two

    def _move(self, move: Move, memory: dict[Level, Tensor], tile: Tile) -> None:
        packed = self.packed[move.level]
        out = memory[move.level][self.schedule.places[~move.step]]
        total = tile.pairs * packed.cells
        step = self.steps[move.step]
        options = {"FIELDS": self.fields, "B": _BLOCK, **packed.layout.options, **FUSED}
        if move.source is None and step.stored not in self.beside:
            cells, value = self.stored[step.stored], tile.stored[step.stored]  # type: ignore[index]
            moves.stored[(-(-total // _BLOCK),)](
                out, value, packed.plane, self.found_in[move.step], total, packed.count, cells.total, value.stride(0), **options,
            )  # fmt: skip
            return
        if move.source is None:
            before, source, taps = self.beside[step.stored], self._joined(step.stored, tile), [(1, [0]), (1, [0])]  # type: ignore[index,arg-type]
        else:
            before = self.packed[level := self.schedule.levels[move.source]]
            source, taps = memory[level][self.schedule.places[move.source]], step.taps
        (step0, off0), (step1, off1) = taps
        moves.window[(-(-total // _BLOCK),)](
            out, source, packed.plane, before.lookup, total, packed.count, before.count,
            **{name + "1": n for name, n in before.layout.options.items()}, STEP0=step0, STEP1=step1, OFF0=tuple(off0),
            OFF1=tuple(off1), N0=len(off0), N1=len(off1), **options,
        )  # fmt: skip

    def _joined(self, node: Node, tile: Tile) -> Tensor:
        """The packed planes of a stored value, with what is stored plane by plane added to them."""
        packed, value = self.beside[node], tile.stored[node]
        out = tile.beside(node, packed, self.fields)
        cell, place = self.joining[node]
        if node not in tile.joined and len(cell):
            total = tile.pairs * len(cell)
            moves.joined[(-(-total // _BLOCK),)](
                out, value, cell, place, total, len(cell), packed.count, self.stored[node].total, value.stride(0),
                HW=packed.layout.positions, FIELDS=self.fields, B=_BLOCK,
            )  # fmt: skip
        tile.joined.add(node)
        return out


def _held(size: tuple[int, int], wide: int, fields: int) -> bool:
    """Whether a warp can hold planes of a size."""
    layout = Layout.of(size, bool(wide))
    return layout is not None and math.prod(layout.tile) * fields * (2 if wide else 1) <= _MOST


def _packed(level: Level, planes: list[tuple[int, int]], wide: bool, device: torch.device) -> Packed:
    size, (down, across) = level
    layout = Layout.of(size, wide)
    assert layout is not None
    return Packed(layout, [(a * down, b * across) for a, b in planes], device)
