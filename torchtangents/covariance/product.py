"""Products: of two independent values, and of a value with numbers that are known."""

from __future__ import annotations

from torch import Tensor

from .block import Block
from .grid import Grid, Planes
from .node import Context, Memory, Node
from .pair import floored
from .refusal import refuse


class Product(Node):
    """h g of two independent values, channel by channel (they may have means).

    K' = K_h K_g,   Theta' = Theta_h K_g + K_h Theta_g,   and with S = 2 (v1 + v2) - D, the second moment of the sum,
    D' = (D_h S_g + S_h D_g + 2 (v1_h - v2_h)(v1_g - v2_g)) / 4, as h g - h' g' = ((h - h')(g + g') + (h + h')(g - g')) / 2.
    The product rule: Yang 2019 (arXiv 1902.04760), independent branches of one tensor program.
    """

    def __init__(self, first: Node, second: Node):
        if not (first.alike or second.alike):
            refuse(
                "multiplies two values whose laws differ from channel to channel (data, a concatenation that was pooled), so "
                "that the mean of their product is not known. Expected a Linear or Conv layer at the end of one factor"
            )
        centred = first.centred or second.centred
        super().__init__((first, second), first.size, gaussian=False, centred=centred)

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        first, second = means
        return None if first is None or second is None else first * second

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        return {"first": blocks[0].variances(), "second": blocks[1].variances()}

    def run(self, context: Context, *blocks: Block) -> Block:
        h, g = (b.select(context.wanted) for b in blocks)
        grid = h.grid
        ntk = None if h.ntk is None or g.ntk is None else h.ntk * g.nngp + h.nngp * g.ntk
        distance = None
        if context.distance and h.distance is not None and g.distance is not None:
            (h1, h2), (g1, g2) = context.sides("first", grid), context.sides("second", grid)
            apart = h.distance * (2 * (g1 + g2) - g.distance) + (2 * (h1 + h2) - h.distance) * g.distance
            distance = grid.mask(floored(apart + 2 * (h1 - h2) * (g1 - g2)) / 4)
        return Block(grid, h.nngp * g.nngp, distance, ntk)

    def cost(self) -> int:
        return 3


class Weighted(Node):
    """Every channel times one known number a position: K' = c1(p) K(p, q) c2(q),   D' = c1 c2 D + (c1 - c2)(c1 v1 - c2 v2)."""

    def __init__(self, source: Node, factor: Tensor):  # (N, *S)
        super().__init__((source,), source.size, gaussian=source.gaussian, centred=source.centred)
        self.factor = factor

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        v = blocks[0].variances()
        return {"factor": self.factor[context.batch1].to(v).expand_as(v), "v": v}

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else memory["factor"] * means[0]

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        grid = block.grid
        c1, c2 = context.sides("factor", grid)
        distance = None
        if context.distance and block.distance is not None:
            v1, v2 = context.sides("v", grid)
            distance = grid.mask(floored(c1 * c2 * block.distance + (c1 - c2) * (c1 * v1 - c2 * v2)))
        ntk = None if block.ntk is None else c1 * c2 * block.ntk
        return Block(grid, c1 * c2 * block.nngp, distance, ntk)

    def cost(self) -> int:
        return 4


class Expanded(Node):
    """One value at every position of a new axis, as broadcasting does: every plane of it holds K."""

    def __init__(self, source: Node, axis: int, count: int):
        size = (*source.size[:axis], count, *source.size[axis:])
        super().__init__((source,), size, gaussian=source.gaussian, centred=source.centred)
        self.axis = axis

    def reads(self, twin: Node, wanted: Planes) -> Planes:
        return (*wanted[: self.axis], *wanted[self.axis + 1 :])

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return (
            None if means[0] is None else means[0].unsqueeze(1 + self.axis).repeat_interleave(self.size[self.axis], 1 + self.axis)
        )

    def run(self, context: Context, *blocks: Block) -> Block:
        source = blocks[0].select(self.reads(context.twin, context.wanted))
        size1, size2 = (
            (*s[: self.axis], node.size[self.axis], *s[self.axis :])
            for s, node in ((source.grid.size1, self), (source.grid.size2, context.twin))
        )
        grid = Grid(context.wanted, size1, size2)
        n = source.grid.n

        def spread(part: Tensor) -> Tensor:
            start = part.ndim - 2 * n
            part = part.unsqueeze(start + n + self.axis).unsqueeze(start + self.axis)
            counts = [1] * part.ndim
            counts[start + self.axis] = len(context.wanted[self.axis])
            counts[start + n + 1 + self.axis] = size1[self.axis]
            return grid.mask(part.repeat(counts))

        return source.each(grid, spread)

    def cost(self) -> int:
        return 1
