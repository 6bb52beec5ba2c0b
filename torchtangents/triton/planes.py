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
from . import moves, resident
from .cells import Cells
from .launch import FUSED, Numbers
from .packing import Layout, Packed
from .pooling import Pooled, few
from .reduction import Gathered, wanted_of
from .schedule import Level, Move, Run, Schedule, fits
from .segment import Tile

_BLOCK = 1 << 12 if interpreted() else 512
_WARPS = 4
_PLANES = 8  # that a warp takes one after the other, so that they find tables in the first cache
_PROGRAMS = 1 << 11  # of a launch, at least, before they do
_MOST = 128  # registers of values: more are spilled
_REGISTERS = 128  # of two fields of 32 positions: 16 warps on a multiprocessor


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
        self.summed = self.packed[self.end].whole and all(
            isinstance(g, Gathered) and g.uniform is not None for _, g in self.reductions
        )
        self.last = len(self.steps) - 1
        self.halved = any(isinstance(g, Pooled) and g.halved for _, g in self.reductions)
        self.schedule = Schedule(self.steps, levels, keep_last=not self.summed)
        halved = self.last if self.halved else None
        self.runs = [
            Launch(run, self.schedule, self.packed[run.level], self._slots(run, place), wide, halved, device)
            for run in self.schedule.launches
            if isinstance(run, Run)
        ]
        self.entries = {id(r): self._entries(r) for r in self.runs}
        self.found_in = {
            m.step: self.packed[m.level].found_in(stored[self.steps[m.step].stored])  # type: ignore[index]
            for m in self.schedule.launches
            if isinstance(m, Move) and m.source is None
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
        kept = sum(self.dtype.itemsize * self.fields * n * self.packed[level].cells for level, n in self.schedule.most.items())
        return kept + 24 * max(p.count for p in self.packed.values())

    def of_an_input(self) -> int:
        """Bytes of the tables of one input."""
        return max(self.dtype.itemsize * len(r.packed.layout.turned) * r.numbers for r in self.runs)

    def run(self, tile: Tile, x1: Tensor, x2: Tensor) -> None:
        """Adds to what is stored."""
        memory = {}
        for level, values in self.schedule.most.items():
            packed = self.packed[level]
            shape = (values, tile.pairs * packed.count, self.fields, packed.layout.positions)
            memory[level] = torch.empty(shape, dtype=self.dtype, device=self.device)
        sums = torch.empty(tile.pairs, self.packed[self.end].count, 1 + self.ntk, dtype=self.dtype, device=self.device)
        runs = iter(self.runs)
        for launch in self.schedule.launches:
            if isinstance(launch, Move):
                self._move(launch, memory, tile)
            else:
                one, two = self._tables(run := next(runs), tile, x1, x2)
                run(memory.get(launch.level, sums), sums if self.summed and launch is self.schedule.launches[-1] else None,
                    one, two, tile, self.ntk, self.exact)  # fmt: skip
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

    def _reduction(self, r: Reduction, cells: Cells, alone: bool) -> Gathered | Pooled:
        wanted, packed = wanted_of(self.low, r.target), self.packed[self.end]
        if (other := self.beside.get(r.target)) is not None:
            size = other.layout.size
            every = Cells(tuple(other.planes), (size, size), self.device)
            return Pooled(Gathered(r.tables, wanted, cells, every, packed), other, self.fields, alone)
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
        if move.source is None:
            assert step.stored is not None
            cells, value, other = self.stored[step.stored], tile.stored[step.stored], self.beside.get(step.stored)
            added = out if other is None else tile.beside(step.stored, other, self.fields)
            numbered = packed if other is None else other
            moves.stored[(-(-total // _BLOCK),)](
                out, value, added, packed.plane, self.found_in[move.step], numbered.lookup, total, packed.count, numbered.count,
                cells.total, value.stride(0), PACKED=other is not None, **options,
            )  # fmt: skip
            return
        before = self.packed[level := self.schedule.levels[move.source]]
        source = memory[level][self.schedule.places[move.source]]
        (step0, off0), (step1, off1) = step.taps
        moves.window[(-(-total // _BLOCK),)](
            out, source, packed.plane, before.lookup, total, packed.count, before.count,
            **{name + "1": n for name, n in before.layout.options.items()}, STEP0=step0, STEP1=step1, OFF0=tuple(off0),
            OFF1=tuple(off1), N0=len(off0), N1=len(off1), **options,
        )  # fmt: skip


class Launch:
    """A run of instructions, with its code on the device; `halved`: the step whose value it stores for pools of two."""

    def __init__(
        self, run: Run, schedule: Schedule, packed: Packed, slots: list[int], wide: int, halved: int | None, device: torch.device
    ):  # fmt: skip
        self.packed, self.slots, self.wide = packed, slots, wide
        self.source = run.source.source if run.source else None
        self.channels = self.source.values.shape[1] if self.source else 0
        whole, real, relus = [], [], 0
        for number, i in enumerate(run.instructions):
            first = number == 0 and run.source is not None  # data have no tangent
            linear = 0 if i.affine is None else 1 + i.window + (i.window and first)
            keep = None if i.keep == halved else i.keep
            whole.append([schedule.place(i.add), linear, relus if i.relu else -1, schedule.place(keep)])
            real.append([i.w, i.v, *(i.affine or (1.0, 0.0, 0.0, 0.0)), i.relu[2] if i.relu else 0.0, 0.0])
            relus += bool(i.relu)
        alike = [i for r in schedule.launches if isinstance(r, Run) and r.level == run.level for i in r.instructions]
        affine = [i.affine for i in alike if i.affine]
        self.halved = schedule.place(halved) if halved is not None and run is schedule.launches[-1] else -1
        self.options = {  # of all runs of a level, which share one compiled kernel
            "ADDS": any(i.add is not None for i in alike),
            "KEEPS": any(i.keep not in (None, halved) for i in alike),
            "SAME": all(scale == grow and b2 == shift for scale, b2, grow, shift in affine),
            **packed.layout.options,
            "LW": packed.layout.width,
            "V": packed.layout.vector,
            "P": (_BLOCK if interpreted() else 32 * _WARPS) // packed.layout.width,
            "HALVED": self.halved >= 0,
            "WIDE": wide,
        }
        self.count = len(whole)
        self.code = torch.tensor(whole, dtype=torch.int32, device=device)
        self.coefficients = torch.tensor(real, dtype=torch.float64 if wide else torch.float32, device=device)

    @property
    def numbers(self) -> int:
        """Values of a table."""
        return self.channels + len(self.slots)

    def __call__(self, memory: Tensor, sums: Tensor | None, one: Tensor, two: Tensor, tile: Tile, ntk: bool, exact: bool) -> None:
        """All packed planes of the tile."""
        units, program = tile.pairs * self.packed.count, self.options["P"]
        groups = min(_PLANES, max(1, units // (program * _PROGRAMS)))
        options = {**self.options, "num_warps": _WARPS, **FUSED}
        if not exact and not self.wide and not self.options["ADDS"] and not interpreted():
            options["maxnreg"] = _REGISTERS
        resident.run[(-(-units // (program * groups)),)](
            memory, memory if sums is None else sums, one, two, self.packed.plane, self.code, self.coefficients, units,
            self.packed.count, tile.columns, memory.stride(0), self.numbers, self.count, self.channels, groups, self.halved,
            NTK=ntk, EXACT=exact, SUMS=sums is not None, **options,
        )  # fmt: skip


def _held(size: tuple[int, int], wide: int, fields: int) -> bool:
    """Whether a warp can hold planes of a size."""
    layout = Layout.of(size, bool(wide))
    return layout is not None and math.prod(layout.tile) * fields * (2 if wide else 1) <= _MOST


def _packed(level: Level, planes: list[tuple[int, int]], wide: bool, device: torch.device) -> Packed:
    size, (down, across) = level
    layout = Layout.of(size, wide)
    assert layout is not None
    return Packed(layout, [(a * down, b * across) for a, b in planes], device)
