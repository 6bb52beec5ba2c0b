"""The compiled backend on CUDA: a lowered program on tiles of pairs."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from ..covariance.grid import Planes
from ..covariance.kinked import Sign
from ..covariance.node import Node
from ..covariance.pointwise import Pointwise
from ..cuda import interpreted
from ..engine.interpolation import BLANK, Interpolants, interpolant
from ..engine.lowering import Lowering
from ..engine.memory import budget
from ..engine.needs import pair_needs
from ..engine.numbers import kept_names, numbers_by_rules
from ..engine.operations import Kind, has_closed_form
from ..engine.progress import watched
from ..engine.segments import Segment
from ..engine.tiles import mirrored, tiles, transposed
from ..graph.program import Program, widened
from .cells import Cells
from .chain import Chain
from .launch import Numbers
from .moments import covers, deviations
from .packing import Layout, Packed, Plane
from .planes import PackedLaunches
from .pooling import read_packed, stored_packed
from .segment import Launches, Tile

_WORK = 1 << 26 if interpreted() else 1 << 34  # bytes of a tile: a launch takes longer to ask for than to run on fewer
_SMALL = 1e-6  # data below this are scaled,
_EXPONENT = 100  # by no more than this power of two, which single precision holds


class Prepared:
    """Two programs of one model, lowered: raises `NotNative` where there is no rule for a step."""

    def __init__(self, first: Program, second: Program, wanted: Planes, ntk: bool):
        self.ntk, self.shared, self.width = ntk, second is first, first.width
        if first.width == torch.float32 and any(isinstance(s, Pointwise) and isinstance(s.dual, Sign) for s in first.steps):
            first = widened(first)  # the error of an angle is one of the kernel
            second = first if self.shared else widened(second)
        self.first, self.second = first, second
        self.single = first.width == torch.float32
        needs = pair_needs(first, second, wanted)
        kept = {step: kept_names(needs, step) for step in needs.planes}
        functions = [s for s in needs.planes if isinstance(s, Pointwise) and not has_closed_form(s.dual)]
        self.low = Lowering(needs, self.single, kept, interpolants=dict.fromkeys(functions, BLANK))
        if functions:
            found = _tabulated(first, second, functions)
            self.low = Lowering(needs, self.single, kept, interpolants=found)
        self.slots: dict[tuple[Node, str, bool], int] = {}
        for segment in self.low.segments:
            for op in (o for s in segment.steps for o in s.operations):
                for name in op.slots:
                    self.slots.setdefault((op.node, name, op.root), len(self.slots))

    def run(self, tile: int | None, progress: bool | None) -> tuple[Tensor, Tensor | None]:
        """(nngp, ntk) of every pair, dense over what positions are left."""
        device = self.first.device
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():  # where Triton launches
            return self._run(tile, progress)

    def _run(self, tile: int | None, progress: bool | None) -> tuple[Tensor, Tensor | None]:
        first, second, low = self.first, self.second, self.low
        x1 = low.inputs1.rows()
        x2 = x1 if self.shared else low.inputs2.rows()
        self.factor = _factor(low, x1, x2) if self.single else 1.0
        if self.factor != 1.0:
            x1, x2 = (x * self.factor for x in (x1, x2))
            x2 = x1 if self.shared else x2
        if low.by_product and Chain.fits(low):
            chain = Chain(low, self.ntk, lambda: self._numbers(x1, x2), self._place, x1, x2, self.shared)
            parts = chain.run(tile, progress)
        else:
            wide = self._numbers(x1, x2)
            narrow = wide.to(torch.float32) if self.single else wide
            parts = self._pairs(x1, x2, narrow, wide, tile, progress)
        shape = (first.batch, second.batch, *first.root.size, *second.root.size)
        results = [p.view(shape).to(self.width) for p in parts]
        if self.factor != 1.0:
            results = [r * self.factor**-2 for r in results]
        return results[0], results[1] if self.ntk else None

    def _place(self, node: Node, name: str, root: bool) -> int:
        return self.slots[node, name, root]

    def _numbers(self, x1: Tensor, x2: Tensor) -> Numbers:
        """Per-input numbers in double precision."""
        low = self.low
        sizes = [[math.prod(low.sizes(node)[side]) for node, _, _ in self.slots] for side in range(2)]
        begins = [[sum(s[:i]) for i in range(len(s))] for s in sizes]
        if not self.slots:
            none = torch.zeros(max(self.first.batch, self.second.batch), 0, dtype=torch.float64, device=self.first.device)
            return Numbers(none, none, *begins)
        slots = list(self.slots)
        if covers(low, slots):
            one = deviations(low, slots, x1, 0)
            two = one if self.shared else deviations(low, slots, x2, 1)
        else:
            one = _kept(self.first, slots) * self.factor
            two = one if self.shared else _kept(self.second, [(low.twin[node], *slot) for node, *slot in slots]) * self.factor
        return Numbers(one, two, *begins)

    def _pairs(
        self, x1: Tensor, x2: Tensor, narrow: Numbers, wide: Numbers, tile: int | None, progress: bool | None
    ) -> list[Tensor]:
        first, second, low = self.first, self.second, self.low
        device = first.device
        groups = [(segment, self._groups(segment)) for segment in low.segments]
        stored, beside = self._stored([(s, [(g.packed and not g.wide, g.planes) for g in found]) for s, found in groups])
        launches = [(s, self._launches(s, g, stored, beside, narrow, wide)) for s, found in groups for g in found]
        outputs = low.sizes(low.root)
        positions = [math.prod(s) for s in outputs]
        held = sum(8 * c.total for c in stored.values()) + sum(4 * p.cells for p in beside.values())
        held = held * (1 + self.ntk) + positions[0] * positions[1] * (1 + self.ntk) * 8
        working = max((part.most() for _, part in launches), default=1)
        tables = max((part.of_an_input() for _, part in launches), default=0)
        side = tile or _side(budget(device, _WORK), held + working, 2 * tables)
        n1, n2 = first.batch, second.batch
        out = [torch.empty(n1, n2, positions[0] * positions[1], dtype=first.width, device=device) for _ in range(1 + self.ntk)]
        for rows, columns in watched(tiles(n1, n2, side, self.shared), progress):
            parts = self._tile(rows, columns, launches, stored, x1, x2, positions)
            self._place_tile(out, parts, rows, columns)
        return out

    def _place_tile(self, out: list[Tensor], parts: list[Tensor], rows: slice, columns: slice) -> None:
        """A tile of the results, and what mirrors it."""
        first = self.first
        for whole, part in zip(out, parts, strict=True):
            part = part.view(rows.stop - rows.start, columns.stop - columns.start, *first.root.size, *self.second.root.size)
            part = mirrored(part, self.shared and rows == columns, len(first.root.size))
            whole[rows, columns] = part.flatten(2) if part.ndim > 2 else part[..., None]
            if self.shared and rows != columns:
                turned = transposed(part)
                whole[columns, rows] = turned.flatten(2) if turned.ndim > 2 else turned[..., None]

    def _tile(
        self, rows: slice, columns: slice, launches: list[tuple[Segment, Launches | PackedLaunches]],
        stored: dict[Node, Cells], x1: Tensor, x2: Tensor, positions: list[int],
    ) -> list[Tensor]:  # fmt: skip
        first = self.first
        pairs = (rows.stop - rows.start) * (columns.stop - columns.start)
        held = {
            node: torch.zeros(1 + self.ntk, pairs, cells.total, dtype=torch.float64, device=first.device)
            for node, cells in stored.items()
        }
        tile = Tile(rows, columns, held, self.shared)
        parts = [
            torch.zeros(pairs, positions[0] * positions[1], dtype=first.width, device=first.device) for _ in range(1 + self.ntk)
        ]
        for segment, launch in launches:
            value = launch.run(tile, x1, x2)
            if isinstance(launch, Launches) and segment.output:
                for part, field in zip(parts, value, strict=False):
                    part[:, launch.dense] = field.to(part.dtype)
        return parts

    def _groups(self, segment: Segment) -> list[Group]:
        """The planes of a segment by precision."""
        planes: dict[tuple[bool, bool], list[tuple[int, int]]] = {}
        for d0, d1, double, exact in segment.planes:
            planes.setdefault((double or not self.single, exact), []).append((d0, d1))
        out = []
        for (double, exact), found in planes.items():
            wide = int(double) + (double and self.single)
            out.append(Group(wide, exact, PackedLaunches.fits(self.low, segment, wide, 1 + self.ntk + exact), found))
        return out

    def _stored(
        self, groups: list[tuple[Segment, list[tuple[bool, list[Plane]]]]]
    ) -> tuple[dict[Node, Cells], dict[Node, Packed]]:
        """Stored values plane by plane, and packed ones beside them, of the planes that are read so."""
        low, device = self.low, self.first.device
        stored, beside = {}, {}
        for node in low.stored:
            wanted = [(a, b) for a in low.planes(node)[0] for b in low.planes(node)[1]]
            kept = stored_packed(low, node, groups)
            stored[node] = Cells(tuple(wanted if kept is None else kept), low.sizes(node), device)
            if kept is not None:
                beside[node] = Packed(Layout.of(low.sizes(node)[0]), read_packed(node, groups), device)  # type: ignore[arg-type]
        return stored, beside

    def _launches(
        self, segment: Segment, group: Group, stored: dict[Node, Cells], beside: dict[Node, Packed], narrow: Numbers,
        wide: Numbers,
    ) -> Launches | PackedLaunches:  # fmt: skip
        low, ntk, place, device = self.low, self.ntk, self._place, self.first.device
        numbers = wide if group.wide else narrow
        given = low, segment, group.planes, group.wide, group.exact, ntk, stored
        if group.packed:
            return PackedLaunches(*given, beside, numbers, place, device)
        return Launches(*given, numbers, place, device)


@dataclass(frozen=True)
class Group:
    """Planes of a segment that are computed alike."""

    wide: int  # 0 single, 1 double, 2 double of numbers that fit single
    exact: bool
    packed: bool
    planes: list[Plane]


def _side(most: int, of_a_pair: int, of_an_input: int) -> int:
    """Inputs of each side of a tile: of_a_pair n^2 + of_an_input n <= most."""
    return max(1, int((math.sqrt(of_an_input**2 + 4.0 * of_a_pair * most) - of_an_input) / (2 * max(of_a_pair, 1))))


def _factor(low: Lowering, x1: Tensor, x2: Tensor) -> float:
    """The power of two that small data are multiplied by, where that changes nothing else: networks of ReLUs without biases.

    Distances of near-duplicates are 1e-14 of variances; GPUs take what is below 1e-38 for 0.
    """
    operations = [o for segment in low.segments for step in segment.steps for o in step.operations]
    if any(o.kind not in (Kind.AFFINE, Kind.RELU) or (o.kind == Kind.AFFINE and any(o.constants[1::2])) for o in operations):
        return 1.0
    largest = max((float(x.abs().max()) for x in ((x1,) if x2 is x1 else (x1, x2)) if x.numel()), default=0.0)
    return 2.0 ** min(-math.frexp(largest)[1], _EXPONENT) if 0.0 < largest < _SMALL else 1.0


def _kept(program: Program, slots: list[tuple[Node, str, bool]]) -> Tensor:
    found = numbers_by_rules(program, slots, True, False).wide
    assert found is not None
    return found.contiguous()


def _tabulated(first: Program, second: Program, functions: list[Node]) -> Interpolants:
    """Tables over the standard deviations that both data sets take."""
    ranges: dict[Node, list[Tensor]] = {f: [] for f in functions}
    for program in {id(p): p for p in (first, second)}.values():
        twin = dict(zip(first.steps, program.steps, strict=True))
        for f in functions:
            ranges[f].append(_kept(program, [(twin[f], "v", True)]).flatten())
    out: Interpolants = {}
    for f, found in ranges.items():
        x = torch.cat(found)
        some = x[x > 0]
        out[f] = interpolant(f.dual, float(x.min()), float(x.max()), float(some.min()) if len(some) else None)  # type: ignore[attr-defined]
    return out
