"""The reference backend: runs the steps' own rules, a few planes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..covariance.block import Block
from ..covariance.grid import Grid, Planes, replace_axis, union, zero_planes
from ..covariance.laws import Input
from ..covariance.node import Context, Memory, Node
from .memory import chunk
from .needs import Needs
from .runs import Run


@dataclass
class Kept:
    """Per-input numbers from the self blocks, by step."""

    memory: dict[Node, Memory] = field(default_factory=dict)
    means: dict[Node, Tensor | None] = field(default_factory=dict)

    def of(self, node: Node, batch: slice) -> Memory:
        """One step's numbers for some of the inputs."""
        return {name: v[batch] for name, v in self.memory.get(node, {}).items()}


@dataclass
class Execution:
    """One pass over a program: pairs of two sets of inputs, or every input with itself (which fills `kept1`)."""

    needs: Needs
    kept1: Kept
    kept2: Kept
    own: bool
    ntk: bool
    batch1: slice = field(default_factory=lambda: slice(None))
    batch2: slice = field(default_factory=lambda: slice(None))
    shared: bool = False

    def __post_init__(self) -> None:
        self.twin = dict(zip(self.needs.steps1, self.needs.steps2, strict=True))
        data = next((s.values for s in self.needs.steps1 if isinstance(s, Input)), None)
        self.chunk = chunk(torch.device("cpu") if data is None else data.device)

    def output(self) -> Block | None:
        """The value of the last step, if it is asked for."""
        values: dict[Node, Block] = {}
        last_use = {source: run for run in self.needs.runs for source in run.sources}
        for run in self.needs.runs:
            values[run.target] = self._run(run, values)
            for source in run.sources:
                if last_use[source] is run:
                    del values[source]
        return values.get(self.needs.steps1[-1])

    def _run(self, run: Run, values: dict[Node, Block]) -> Block:
        wanted = self.needs.planes[run.target]
        grid = Grid(wanted, run.target.size, self.twin[run.target].size)
        if self.own and run.local and wanted != zero_planes(grid.n):
            self._planes(run, values, zero_planes(grid.n), keep=True)
        if not run.local or not grid.n:
            return self._planes(run, values, wanted, keep=self.own)
        first = self.own and wanted == zero_planes(grid.n)
        parts = [self._planes(run, values, part, keep=first) for part in self._chunks(grid)]
        return Block.joined(parts, grid, parts[0].nngp.ndim - 2 * grid.n)

    def _chunks(self, grid: Grid) -> Iterator[Planes]:
        first = grid.planes[0]
        pairs = _count(self.batch1) * (1 if self.own else _count(self.batch2))
        size = max(1, self.chunk // max(1, pairs * grid.entries // len(first)))
        for i in range(0, len(first), size):
            yield replace_axis(grid.planes, 0, first[i : i + size])

    def _planes(self, run: Run, values: dict[Node, Block], wanted: Planes, keep: bool) -> Block:
        """The run on some planes of its target; `keep` stores per-input numbers on the way."""
        asked: dict[Node, Planes] = {run.target: wanted}
        for step in reversed(run.steps):
            for i in step.inputs:
                asked[i] = union(asked.get(i), step.reads(self.twin[step], asked[step]))  # type: ignore[assignment]
        local: dict[Node, Block] = {s: values[s].select(asked[s]) for s in run.sources}
        for step in run.steps:
            reads = step.reads(self.twin[step], asked[step])
            blocks = tuple(local[i].select(reads) for i in step.inputs)
            context = self._context(step, asked[step])
            if keep:
                self._keep(step, context, blocks)
                context.memory1 = context.memory2 = self.kept1.memory.get(step, {})
            local[step] = step.run(context, *blocks)
        return local[run.target]

    def _context(self, step: Node, wanted: Planes) -> Context:
        everything = slice(None)  # a self pass keeps the numbers of its own inputs only
        return Context(
            self.twin[step],
            wanted,
            self.own,
            self.needs.distance[step],
            self.ntk,
            self.kept1.of(step, everything if self.own else self.batch1),
            self.kept2.of(self.twin[step], everything if self.own else self.batch2),
            self.batch1,
            self.batch2,
            self.shared,
        )

    def _keep(self, step: Node, context: Context, blocks: tuple[Block, ...]) -> None:
        means = tuple(self.kept1.means.get(i) for i in step.inputs)
        distance = self.needs.distance[step]
        memory = step.remember(context, blocks, means) if step.remembers(distance) else {}
        if memory:
            self.kept1.memory[step] = memory
        if self.needs.means[step]:
            mean = step.mean(memory, means)
            whole = not step.inputs and not memory and mean is not None  # data know all inputs, also those of other tiles
            self.kept1.means[step] = mean[self.batch1] if whole else mean  # type: ignore[index]


def _count(batch: slice) -> int:
    return batch.stop - batch.start
