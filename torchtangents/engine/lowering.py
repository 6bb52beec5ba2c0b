"""A program as csrc takes it: segments of steps that run on one plane at a time, and the stored values between them.

A run becomes a segment; windows, padding and strides of one convolution become one step, and what follows on equal
positions joins it. Steps that mix positions become reductions of the segment that makes their input.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from ..covariance.combine import Combine, Mixture
from ..covariance.grid import Planes
from ..covariance.kinked import ABReLU, Sign
from ..covariance.laws import Affine, Dropout, Gain, Input
from ..covariance.maps import Linear, Sum, Trace, Window
from ..covariance.node import Node
from ..covariance.parts import Channels
from ..covariance.pointwise import Normalize, Pointwise
from ..covariance.refusal import NotNative
from . import tables
from .interpolation import Interpolants
from .needs import Needs, planes_for
from .operations import Kind, Operation, keeps_sign, largest, number, operations
from .residual import accumulated
from .runs import Run
from .segments import Gather, Reduction, Segment, Step, inputs_of

_CHANNELS = 8  # of flat data, up to which products are summed directly and not by a matrix product
_POSITIONS = 256  # over which the errors of single precision at positions that are equal to others average out
_STEPS = 64  # of a segment; sums of branches may be steps of their own beside them, of which csrc allows 96 together
_RULES = (Affine, Channels, Combine, Dropout, Gain, Linear, Mixture, Normalize, Pointwise, Sum, Trace, Window)


class Lowering:
    """The program of a pair of data sets as segments."""

    def __init__(
        self,
        needs: Needs,
        single: bool,
        kept: dict[Node, set[str]],
        own: bool = False,
        interpolants: Interpolants | None = None,
        unit: float = 1.0,
        residual: bool = False,
    ):
        self.needs, self.single, self.kept, self.own, self.unit, self.residual = needs, single, kept, own, unit, residual
        self.interpolants = interpolants or {}
        self.twin = dict(zip(needs.steps1, needs.steps2, strict=True))
        self.alike = all(one.size == two.size for one, two in self.twin.items())
        self.root = needs.steps1[-1]
        self.axes: dict[Node, tuple[int, ...]] = {}
        self.negative: dict[Node, bool] = {}
        self.consumers: dict[Node, list[Node]] = {s: [] for s in needs.planes}
        for node in needs.planes:
            for i in dict.fromkeys(node.inputs):
                self.consumers[i].append(node)
        for node in needs.steps1:
            self._place(node)
        self.flat = all(not s.size for s in needs.steps1)
        self.near = self._near()
        self.inputs1, self.inputs2 = inputs_of(needs.steps1), inputs_of(needs.steps2)
        self.targets = {run.target for run in needs.runs}
        self.merged: set[Node] = set()
        self.stored: dict[Node, bool] = {}  # in order; True where all planes are in double precision
        self.segments = self._segments()
        if self.by_product and len(self.segments) > 1:  # groups of channels, each kept at a function of its own
            raise NotNative("a fully connected network that ends in several values has no compiled rule")

    @property
    def by_code(self) -> bool:
        """Whether csrc keeps the per-input numbers itself: second moments only, no normalisers or means."""
        return not any(isinstance(s, Normalize) or (isinstance(s, Combine) and len(s.biased) > 1) for s in self.needs.steps1)

    @property
    def by_product(self) -> bool:
        """Whether the data enter as one matrix product."""
        return self.flat and len(self.inputs1.parts) == 1 and self.inputs1.count > _CHANNELS

    # Sizes and planes, on the two axes of csrc

    def _place(self, node: Node) -> None:
        if node.inputs and type(node) not in _RULES:
            raise NotNative(f"{node.layer}: {type(node).__name__} has no compiled rule")
        if not node.inputs:
            if not isinstance(node, Input):
                raise NotNative(f"{type(node).__name__} covariances have no compiled rule")
            if len(node.size) > 2:
                raise NotNative(f"{len(node.size)} axes of positions have no compiled rule")
            self.axes[node] = ((), (1,), (0, 1))[len(node.size)]
        else:
            places = {self.axes[i] for i in node.inputs}
            if len(places) > 1:
                raise NotNative(f"{node.layer}: joins values whose positions come from different axes")
            (axes,) = places
            self.axes[node] = tuple(a for k, a in enumerate(axes) if k != node.axis) if isinstance(node, (Sum, Trace)) else axes
        self.negative[node] = self._may_be_negative(node)

    def _may_be_negative(self, node: Node) -> bool:
        if isinstance(node, Pointwise):
            return not keeps_sign(node.dual)
        below = any(self.negative[i] for i in node.inputs) or not node.inputs
        if isinstance(node, Affine):
            return below or number(node.b2) < 0
        if isinstance(node, Linear):
            return below or bool((node.rows.coef < 0).any())
        if isinstance(node, Combine):
            return below or len(node.biased) > 1
        return below or not isinstance(node, (Window, Sum, Trace, Mixture, Gain))

    def size(self, node: Node) -> tuple[int, int]:
        """Positions on csrc's axes."""
        out = [1, 1]
        for a, s in zip(self.axes[node], node.size, strict=True):
            out[a] = s
        return out[0], out[1]

    def sizes(self, node: Node) -> tuple[tuple[int, int], tuple[int, int]]:
        """The same for both data sets."""
        twin = self.twin[node]
        self.axes.setdefault(twin, self.axes[node])
        return self.size(node), self.size(twin)

    def planes(self, node: Node, planes: Planes | None = None) -> list[tuple[int, ...]]:
        """Displacements along csrc's axes."""
        out: list[tuple[int, ...]] = [(0,), (0,)]
        for a, d in zip(self.axes[node], self.needs.planes[node] if planes is None else planes, strict=True):
            out[a] = d
        return out

    # Precision

    def _near(self) -> dict[Node, Planes]:
        """Planes in double precision although the data are single: what a kink after a mixing of positions depends on."""
        duals = [s.dual for s in self.needs.steps1 if isinstance(s, Pointwise)]
        self.exact = self.alike and any(self.needs.distance.values()) and all(isinstance(d, (ABReLU, Sign)) for d in duals)
        if not self.single:
            return {}
        positions = min((math.prod(s.size) for s in self.needs.steps1 if s.size and not s.inputs), default=_POSITIONS)
        averaged = self.alike and not self.root.size and positions >= _POSITIONS
        if self.own or not averaged:
            return dict(self.needs.planes)
        late = [run for run in self.needs.runs if run.sources]
        kinked = {run.target for run in late if any(isinstance(s, Pointwise) and s.dual.kinked for s in run.steps)}
        return planes_for(self.needs, kinked)

    def marked(self, node: Node, exact: bool = False) -> list[tuple[int, int, bool, bool]]:
        """The planes of a segment with its precision."""
        first, second = self.planes(node)
        near1, near2 = self.planes(node, self.near[node]) if node in self.near else ((), ())
        both = set(near1), set(near2)
        out = [(a, b, a in both[0] and b in both[1], exact and a == b == 0) for a in first for b in second]
        if self.own:  # plane 0 first: the others read what it keeps
            out.sort(key=lambda plane: plane[:2] != (0, 0))
        return out

    def cells(self) -> int:
        """Values that all steps compute for one pair."""
        total = 0
        for segment in self.segments:
            alike = Counter((self.sizes(step.node), step.stride) for step in segment.steps)
            d = np.asarray([plane[:2] for plane in segment.planes]).reshape(-1, 2)
            for (sizes, stride), steps in alike.items():
                one, two = np.asarray(sizes)
                places = np.minimum(one, two - d * stride) - np.maximum(0, -d * stride)
                total += steps * int(places.clip(0).prod(1).sum())
        return max(total, 1)

    # Segments

    def _segments(self) -> list[Segment]:
        out = []
        for run in self.needs.runs:
            if run.local:
                out.append(self._segment(run))
            elif run.target not in self.merged:
                node = run.target
                if node in self.stored and (node is self.root or any(not c.local for c in self.consumers[node])):
                    out.append(self._finished([Step(Gather.LOAD, node, stored=node)], node, exact=False))
        return out

    def _segment(self, run: Run) -> Segment:
        steps: list[Step] = []
        at: dict[Node, Step] = {}
        for source in run.sources:
            if source not in self.stored:
                raise NotNative(f"{source.layer}: is stored without a rule")
            at[source] = Step(Gather.LOAD, source, stored=source)
            steps.append(at[source])
        inside = set(run.steps)
        for node in run.steps:
            readers = [c for c in self.consumers[node.inputs[0]] if c in inside] if node.inputs else []
            at[node] = self._step(node, at, steps, alone=len(readers) == 1)
        return self._finished(steps, run.target, exact=self.exact and (self.own or not run.sources))

    def _step(self, node: Node, at: dict[Node, Step], steps: list[Step], alone: bool) -> Step:
        def new(step: Step) -> Step:
            steps.append(step)
            return step

        if isinstance(node, Input):
            return new(Step(Gather.MATRIX if self.by_product else Gather.INPUT, node, source=node))
        sources = [at[i] for i in node.inputs]
        if isinstance(node, (Linear, Window)):
            return self._map(node, sources[0], alone, new)
        if isinstance(node, (Combine, Mixture)):
            weights = [number(c) ** 2 for c in node.coefficients] if isinstance(node, Combine) else list(node.weights)
            step = new(Step(Gather.MIX, node, sources, weights))
        elif alone:
            step = sources[0]
            step.node = node
        else:
            step = new(Step(Gather.MIX, node, sources, [1.0]))
        if not isinstance(node, Mixture):
            kept = self.kept.get(node, set())
            table = self.interpolants.get(node)
            own = operations(node, kept, self.negative[node.inputs[0]], lambda axes: self._flags(node, axes), table, self.unit)
            if self.own:
                most = largest(node, self.single)
                step.operations += [Operation(Kind.RECORD, node, o.slots, (float(o.root), most), o.root) for o in own if o.slots]
            step.operations += own
        return step

    def _flags(self, node: Node, axes: tuple[int, ...]) -> tuple[float, float]:
        held = {self.axes[node][a] for a in axes}
        return float(0 in held), float(1 in held)

    def _map(self, node: Linear | Window, source: Step, alone: bool, new) -> Step:
        """A window, padding or stride along one axis; joins a map along the other axis, or one that it stays inside of."""
        if isinstance(node, Window):
            taps = (node.step, list(node.offsets))
        else:
            twin = self.twin[node]
            assert isinstance(twin, Linear)
            if node.rows.progression is None or node.rows.progression != twin.rows.progression:
                raise NotNative(f"{node.layer}: moves positions differently for x1 and x2")
            step, start = node.rows.progression
            taps = (step, [start])
        axis = self.axes[node][node.axis]
        (before,) = {self.size(node.inputs[0])[axis]}
        inside = taps[1][0] >= 0 and taps[0] * (self.size(node)[axis] - 1) + taps[1][-1] < before
        inside &= self.alike
        join = alone and source.gather == Gather.MAP and not source.operations and (inside or self._keeps(source, axis))
        if not join:
            source = new(Step(Gather.MAP, node, [source]))
        step1, offsets1 = source.taps[axis]
        source.taps[axis] = (step1 * taps[0], sorted(step1 * o2 + o1 for o2 in taps[1] for o1 in offsets1))
        source.node = node
        return source

    def _keeps(self, step: Step, axis: int) -> bool:
        """Whether a map leaves all positions of an axis where they are, perhaps with zeros behind."""
        same = all(a[axis] >= b[axis] for a, b in zip(self.sizes(step.node), self.sizes(step.sources[0].node), strict=True))
        return same and step.taps[axis] == (1, [0])

    def _finished(self, steps: list[Step], target: Node, exact: bool) -> Segment:
        if len(steps) > _STEPS:
            raise NotNative(f"{target.layer}: more than {_STEPS} steps between two mixings of positions")
        last = next(s for s in steps if s.node is target)
        steps = [s for s in steps if s is not last] + [last]
        if self.residual:
            steps = accumulated(steps)
        self._strides(steps)
        self._buffers(steps)
        reductions = []
        mixing = [c for c in self.consumers[target] if not c.local]
        for node in mixing:
            reductions.append(self._reduction(target, node))
        if any(c.local and c in self._others(target) for c in self.consumers[target]) and steps[0].stored is not target:
            self._store(target, False)
            table = self._tables(target, [])
            reductions.append(Reduction(target, table))
        output = target is self.root and not self.own
        if not self.own:
            _fold(steps, [] if output else reductions)
        return Segment(steps, self.marked(target, exact), reductions, output)

    def _others(self, target: Node) -> set[Node]:
        """Steps outside the run that makes a value."""
        return {s for run in self.needs.runs if run.target is not target for s in run.steps}

    def _reduction(self, source: Node, node: Node) -> Reduction:
        """The steps that mix positions from `source` on, as long as each is read by the next alone, on another axis."""
        chain = [node]
        while True:
            after = self.consumers[chain[-1]]
            if chain[-1] is self.root or len(after) != 1 or after[0].local:
                break
            if self._axis(after[0]) in {self._axis(c) for c in chain}:
                break
            self.merged.add(chain[-1])
            chain.append(after[0])
        self._store(chain[-1], any(isinstance(c, Sum) for c in chain))
        return Reduction(chain[-1], self._tables(source, chain))

    def _axis(self, node: Node) -> int:
        return self.axes[node.inputs[0]][node.axis]  # type: ignore[attr-defined]

    def _tables(self, source: Node, chain: list[Node]) -> list[tables.Table]:
        one, two = self.sizes(source)
        have = self.planes(source)
        want = self.planes(chain[-1]) if chain else have
        out = []
        for axis in range(2):
            node = next((c for c in chain if self._axis(c) == axis), None)
            if node is not None:
                out.append(tables.mixed(node, self.twin[node], have[axis], want[axis], one[axis], two[axis]))
            elif axis in self.axes[source]:
                out.append(tables.kept(have[axis], want[axis], one[axis], two[axis]))
            else:
                out.append(tables.one_position())
        return out

    def _store(self, node: Node, wide: bool) -> None:
        self.stored[node] = self.stored.get(node, False) or wide

    def _strides(self, steps: list[Step]) -> None:
        """How far each step's plane is displaced, in terms of the last step's."""
        steps[-1].stride = (1, 1)
        for step in reversed(steps):
            if step.stride is None:
                raise NotNative(f"{step.node.layer}: is not read by the run's last step")
            for place, source in enumerate(step.sources):
                stride = step.stride if place else (step.stride[0] * step.taps[0][0], step.stride[1] * step.taps[1][0])
                if source.stride not in (None, stride):
                    raise NotNative(f"{source.node.layer}: is read with different strides")
                source.stride = stride

    @staticmethod
    def _buffers(steps: list[Step]) -> None:
        """Few buffers, so that they stay in cache: one is free after the last step that reads it."""
        last = {s: i for i, step in enumerate(steps) for s in step.sources}
        free: list[int] = []
        late: list[int] = []
        count = 0
        for i, step in enumerate(steps):
            if free:
                step.buffer = free.pop()
            else:
                step.buffer, count = count, count + 1
            done = [s.buffer for s in dict.fromkeys(step.sources) if last[s] == i]
            free, late = free + late, []
            if step.gather == Gather.MAP and len(step.sources) > 1:  # csrc computes the next step in the same pass
                late = done
            else:
                free += done


def _fold(steps: list[Step], reductions: list[Reduction]) -> None:
    """The constant factor of a ReLU goes into what reads it, affine operations or reductions, where nothing else does."""
    for step in steps:
        for place, relu in enumerate(step.operations):
            if relu.kind != Kind.RELU:
                continue
            ends = place + 1 == len(step.operations)
            readers = [(s, 0) for s in steps if step in s.sources] if ends else [(step, place + 1)]
            alone = ends and step is steps[-1] and not readers
            whole = all((s.gather == Gather.MAP and step not in s.sources[1:]) or not ends for s, _ in readers)
            affine = whole and all(s.operations and s.operations[i].kind == Kind.AFFINE for s, i in readers)
            if not (reductions if alone else readers and affine):
                continue
            level, bend, negative, _ = relu.constants
            step.operations[place] = replace(relu, constants=(level, bend, negative, 1.0))
            for s, i in readers:
                scale, b2, grow, shift = s.operations[i].constants
                s.operations[i] = replace(s.operations[i], constants=(scale * bend, b2, grow * bend, shift))
            for reduction in reductions if alone else ():
                reduction.tables[0] = tables.scaled(reduction.tables[0], bend)
