"""What every step must provide, worked backwards from what is asked of the output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ..covariance.grid import Grid, Planes, every_plane, union, zero_planes
from ..covariance.node import Node
from ..graph.program import Program
from .runs import Run, runs_of


@dataclass(frozen=True)
class Needs:
    """For each step of a pair of programs: planes, and whether distances and means are needed."""

    steps1: list[Node]
    steps2: list[Node]
    planes: dict[Node, Planes]  # by the first program's step
    distance: dict[Node, bool]
    means: dict[Node, bool]

    @cached_property
    def runs(self) -> list[Run]:
        """The needed steps as runs; every tile executes the same."""
        return runs_of(self.steps1, set(self.planes))

    def grid(self, index: int) -> Grid:
        """The grid of one step."""
        node, twin = self.steps1[index], self.steps2[index]
        return Grid(self.planes[node], node.size, twin.size)


def output_planes(first: Program, second: Program) -> Planes:
    """What a read-out asks for: no positions left, or every pair of them."""
    return every_plane(first.root.size, second.root.size)


def pair_needs(first: Program, second: Program, wanted: Planes | None) -> Needs:
    """The needs of pairs across two programs of one model."""
    steps1, steps2 = first.steps, second.steps
    if _wiring(first) != _wiring(second):
        raise ValueError(
            "expected forward to take the same steps for x1 and x2, but it branches on the shape or on the data; "
            "compute the kernels of each shape separately"
        )
    twin = dict(zip(steps1, steps2, strict=True))
    for one, two in twin.items():
        if not one.agrees(two):
            raise ValueError(
                f"{one.layer}: uses a number that depends on the data, which differs between x1 and x2. Expected "
                "factors that do not depend on the inputs"
            )
    distance, means = _flags(steps1)
    return Needs(steps1, steps2, _backwards(steps1, twin, wanted, set()), distance, means)


def _wiring(program: Program) -> tuple:
    """Which step of which layer reads which others, and which axes are left."""
    place = {step: i for i, step in enumerate(program.steps)}
    return [(type(s), s.layer, [place[i] for i in s.inputs]) for s in program.steps], program.layout


def self_needs(program: Program, wanted: Planes | None) -> Needs:
    """The needs of each input with itself: plane 0 wherever a step keeps per-input numbers."""
    steps = program.steps
    distance, means = _flags(steps)
    keepers = {node for node in steps if node.remembers(distance[node]) or means[node]}
    twin = dict(zip(steps, steps, strict=True))
    return Needs(steps, steps, _backwards(steps, twin, wanted, keepers), distance, means)


def planes_for(needs: Needs, keepers: set[Node]) -> dict[Node, Planes]:
    """The planes that plane 0 of some steps depends on."""
    twin = dict(zip(needs.steps1, needs.steps2, strict=True))
    return _backwards(needs.steps1, twin, None, keepers)


def needs_of(program: Program, keepers: set[Node]) -> Needs:
    """The needs of each input with itself: plane 0 of some steps."""
    distance, means = _flags(program.steps)
    twin = dict(zip(program.steps, program.steps, strict=True))
    return Needs(program.steps, program.steps, _backwards(program.steps, twin, None, keepers), distance, means)


def _flags(steps: list[Node]) -> tuple[dict[Node, bool], dict[Node, bool]]:
    """Where squared distances and means are needed: wherever a later step uses them."""
    distance, means = dict.fromkeys(steps, False), dict.fromkeys(steps, False)
    for node in reversed(steps):
        for i in node.inputs:
            distance[i] |= node.uses_distance(distance[node])
            means[i] |= node.uses_mean(means[node]) and not i.centred
    return distance, means


def _backwards(steps: list[Node], twin: dict[Node, Node], wanted: Planes | None, keepers: set[Node]) -> dict[Node, Planes]:
    """The planes of every step, from those wanted of the last one and plane 0 of the `keepers`."""
    planes: dict[Node, Planes] = {} if wanted is None else {steps[-1]: wanted}
    for node in reversed(steps):
        if node in keepers:
            planes[node] = union(planes.get(node), zero_planes(len(node.size)))  # type: ignore[assignment]
        if node in planes:
            for i in node.inputs:
                planes[i] = union(planes.get(i), node.reads(twin[node], planes[node]))  # type: ignore[assignment]
    return planes
