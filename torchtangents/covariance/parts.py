"""What is left of a value: single positions where weights are not shared, some of its channels."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .grid import Grid, Planes, replace_axis
from .laws import equal_positions
from .node import Context, Memory, Node


class Diagonal(Node):
    """Weights of their own at each position of `axes`, so that only equal positions covary: of all planes, 0 survives.

    K' = K at equal positions and 0 elsewhere; D' = D at equal positions and v1 + v2 elsewhere.
    """

    local = False

    def __init__(self, source: Node, axes: tuple[int, ...]):
        super().__init__((source,), source.size, gaussian=source.gaussian, centred=source.centred)
        self.axes = axes

    def reads(self, twin: Node, wanted: Planes) -> Planes:
        for axis in self.axes:
            wanted = replace_axis(wanted, axis, (0,))
        return wanted

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        return {"v": blocks[0].variances()}

    def run(self, context: Context, *blocks: Block) -> Block:
        block = blocks[0].select(self.reads(context.twin, context.wanted))
        grid = Grid(context.wanted, block.grid.size1, block.grid.size2)
        out = block.each(grid, lambda part: equal_positions(grid, part, self.axes))
        if not context.distance or out.distance is None:
            return Block(grid, out.nngp, None, out.ntk)
        v1, v2 = context.sides("v", grid)
        elsewhere = 1 - equal_positions(grid, torch.ones_like(out.nngp), self.axes)
        return Block(grid, out.nngp, grid.mask(out.distance + elsewhere * (v1 + v2)), out.ntk)

    def cost(self) -> int:
        return 1


class Channels(Node):
    """Some channels of a value whose channels have one law: the same second moments.

    Its roots are these channels of the layers it depends on: other channels are independent, shared ones are not.
    """

    def __init__(self, source: Node, index: tuple[int, ...]):
        roots = source.roots.some(index)
        super().__init__((source,), source.size, gaussian=source.gaussian, centred=source.centred, roots=roots)
        self.index = index

    def run(self, context: Context, *blocks: Block) -> Block:
        return blocks[0]

    def cost(self) -> int:
        return 0
