"""The compiled backend: a lowered program as a plan of csrc, run on tiles of pairs."""

from __future__ import annotations

import importlib
import math

import torch
from torch import Tensor

from ..covariance.grid import Planes
from ..covariance.kinked import Sign
from ..covariance.node import Node
from ..covariance.pointwise import Pointwise
from ..graph.program import Program, widened
from .interpolation import BLANK, Interpolants
from .lowering import Lowering
from .needs import pair_needs
from .numbers import Keeper, kept_names, numbers_by_rules, tabulated
from .operations import UNIT, has_closed_form
from .products import CLOSE, Products, too_coarse
from .progress import watched
from .segments import Gather, Step

_CELLS = 4e9  # values of a step that a thread computes between two looks at the progress: about a second
_MOVES = 5e7  # numbers that are mirrored between two looks at Ctrl-C
_LANES = 16  # pairs that are computed side by side
_SHARE = 8  # groups of pairs a thread, at least, in one call

Slots = dict[tuple[Node, str, bool], int]  # (step, name, as a root) -> place


class Code:
    """A lowered program as a plan of csrc, and the places of the per-input numbers that it reads."""

    def __init__(self, lowering: Lowering, ntk: bool, single: bool):
        low = self.lowering = lowering
        one, two = low.sizes(low.root)
        self.positions1, self.positions2 = math.prod(one), math.prod(two)
        native = importlib.import_module("torchtangents._native")
        counts = low.inputs1.count, low.inputs2.count
        plan = self.plan = native.Plan(ntk, low.flat, single, *counts, self.positions1, self.positions2)
        if low.by_product:
            plan.products()
        self.slots: Slots = {}
        self.narrow = single and any(not wide for g in low.segments for _, _, wide, _ in g.planes)
        self.wide = not single or any(wide for g in low.segments for _, _, wide, _ in g.planes)
        places: dict[Node | None, int] = {None: -1}
        for node, wide in low.stored.items():
            first, second = low.planes(node)
            marks = [wide or not single or w for _, _, w, _ in low.marked(node)]
            places[node] = plan.stored(*low.sizes(node), list(first), list(second), marks)
        for segment in low.segments:
            plan.segment([(a, b, wide and single, exact) for a, b, wide, exact in segment.planes], segment.output)
            index = {id(s): i for i, s in enumerate(segment.steps)}
            for step in segment.steps:
                taps = step.taps if step.gather == Gather.MAP else []
                plan.step(
                    int(step.gather), step.buffer, *low.sizes(step.node), step.stride, places[step.stored],
                    [index[id(s)] for s in step.sources], step.weights, taps, self._data(step),
                )  # fmt: skip
                for op in step.operations:
                    plan.op(int(op.kind), [self._slot(op.node, name, op.root) for name in op.slots], list(op.constants))
            for reduction in segment.reductions:
                plan.reduce(places[reduction.target], reduction.tables)

    def _data(self, step: Step) -> tuple[int, int, int]:
        """Channels of the data and where they start."""
        node, low = step.source, self.lowering
        if node is None:
            return 0, 0, 0
        return node.values.shape[1], low.inputs1.offset[node], low.inputs2.offset[low.twin[node]]

    def _slot(self, node: Node, name: str, root: bool) -> int:
        key = (node, name, root)
        if key not in self.slots:
            one, two = self.lowering.sizes(node)
            self.slots[key] = self.plan.slot(math.prod(one), math.prod(two))
        return self.slots[key]


def _jumps(program: Program) -> bool:
    """Whether the error of an angle is one of the kernel."""
    return any(isinstance(s, Pointwise) and isinstance(s.dual, Sign) for s in program.steps)


class Prepared:
    """Two programs of one model, lowered: raises `NotNative` where csrc has no rule for a step."""

    def __init__(self, first: Program, second: Program, wanted: Planes, ntk: bool, instructions: str = ""):
        self.shared, self.ntk, self.instructions = second is first, ntk, instructions
        self.width = first.width
        if first.width == torch.float32 and (too_coarse(first, second) or _jumps(first)):
            first = widened(first)
            second = first if self.shared else widened(second)
        self.first, self.second = first, second
        single = first.width == torch.float32
        needs = pair_needs(first, second, wanted)
        kept = {step: kept_names(needs, step) for step in needs.planes}
        functions = [s for s in needs.planes if isinstance(s, Pointwise) and not has_closed_form(s.dual)]
        low = self.low = Lowering(needs, single, kept, interpolants=dict.fromkeys(functions, BLANK), unit=UNIT, residual=True)
        self.x1 = low.inputs1.rows()
        self.x2 = self.x1 if self.shared else low.inputs2.rows()
        self.interpolants: Interpolants = {}
        if functions:
            sides = [(first, self.x1)] if self.shared else [(first, self.x1), (second, self.x2)]
            self.interpolants = tabulated(sides, [s for s in first.steps if s in functions], low.by_code)
            low = self.low = Lowering(needs, single, kept, interpolants=self.interpolants, unit=UNIT, residual=True)
        self.code = Code(low, ntk, single)

    def run(self, tile: int | None, progress: bool | None) -> tuple[Tensor, Tensor | None]:
        """(nngp, ntk) of every pair, dense over what positions are left."""
        first, second, low, code, shared = self.first, self.second, self.low, self.code, self.shared
        x1, x2 = self.x1, self.x2
        n1, n2 = first.batch, second.batch
        out = [torch.empty(n1, n2 * code.positions1 * code.positions2, dtype=first.width) for _ in range(1 + self.ntk)]
        native = importlib.import_module("torchtangents._native")
        for part in out:
            native.reserve(part)
        threads = torch.get_num_threads()
        least = -(-_SHARE * threads * _LANES // max(n2, 1))
        products = Products(x1, x2) if low.by_product else None
        step = tile or (products.step if products else None) or max(least, int(_CELLS * threads / (low.cells() * max(n2, 1))))
        slices = [slice(i, min(n1, i + step)) for i in range(0, n1, step)]
        if products and slices:  # before the numbers, while whose preparation the threads of the product stop waiting for more
            products.fill(slices[0], out[0])
        kept = self._numbers(products)
        results = (out[0], out[1] if self.ntk else None)
        for i in watched(slices, progress):
            if products and i.start:
                products.fill(i, out[0])
            given = (products.norm1, products.norm2, CLOSE[x1.dtype]) if products else (None, None, 0.0)
            ranges = (i.start, i.stop, i.start if shared else 0, n2)
            code.plan.run(x1, x2, *given, *kept, *results, shared, ranges, threads, self.instructions)
        if shared:
            rows = max(32, int(_MOVES / max(out[0].shape[1], 1)))
            for part in out:
                for i in range(0, n1, rows):
                    native.mirror(part, code.positions1, i, min(n1, i + rows), threads)
        parts = [p.view(n1, n2, *first.root.size, *second.root.size).to(self.width) for p in out]
        return parts[0], parts[1] if self.ntk else None

    def _numbers(self, products: Products | None) -> tuple[Tensor | None, ...]:
        """Per-input numbers: (narrow of x1, narrow of x2, wide of x1, wide of x2)."""
        code, slots = self.code, list(self.code.slots)
        twins = [(self.low.twin[node], name, root) for node, name, root in slots]
        if self.low.by_code:
            keeper = Keeper(self.first, slots, code.wide, code.narrow, self.interpolants)
            one = two = keeper.of(self.x1, products.norm1 if products else None)
            if not self.shared:
                if any(a.size != b.size for a, b in self.low.twin.items()):
                    keeper = Keeper(self.second, twins, code.wide, code.narrow, self.interpolants)
                two = keeper.of(self.x2, products.norm2 if products else None)
        else:
            one = two = numbers_by_rules(self.first, slots, code.wide, code.narrow)
            if not self.shared:
                two = numbers_by_rules(self.second, twins, code.wide, code.narrow)
        return one.narrow, two.narrow, one.wide, two.wide
