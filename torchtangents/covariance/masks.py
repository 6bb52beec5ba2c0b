"""Inputs of different lengths in one batch: which positions hold data, and what happens to the others."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .node import Context, Memory, Node
from .pair import floored
from .refusal import placed, refuse


class Weigh(Node):
    """Numbers for each input and position, 0 where there are no data: h'(p) = w(p) h(p).

    K' = w1 w2 K,   D' = w1 w2 D + (w1 - w2)(w1 v1 - w2 v2).
    """

    def __init__(self, source: Node, weights: Tensor):  # (N, *S)
        super().__init__((source,), source.size, gaussian=source.gaussian, centred=source.centred)
        self.weights = weights

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        v = blocks[0].variances()
        return {"w": self.weights[context.batch1].to(v), "v": v}

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else memory["w"] * means[0]

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,), grid = blocks, blocks[0].grid
        w1, w2 = context.sides("w", grid)
        out = block.each(grid, lambda part: w1 * w2 * part)
        if not context.distance or out.distance is None:
            return Block(grid, out.nngp, None, out.ntk)
        v1, v2 = context.sides("v", grid)
        distance = floored(out.distance + (w1 - w2) * (w1 * v1 - w2 * v2))
        return Block(grid, out.nngp, grid.mask(distance), out.ntk)


def averaged(mask: Tensor, axes: tuple[int, ...], average: bool) -> Tensor:
    """The weights of a sum, or of a mean, over the positions of some axes that hold data: (N, *S)."""
    dims = tuple(1 + a for a in axes)
    weights = mask.double()
    return weights / weights.sum(dims, keepdim=True).clamp_min(1) if average else weights


def windowed(mask: Tensor, axis: int, size: int, reach: int, stride: int, before: int, after: int) -> Tensor:
    """Which positions of a convolution or pool hold data, as if each input were cut to its own data and padded by itself.

    Output p reads the positions from stride p - before to stride p - before + reach. It exists where both of its ends, moved
    inwards by the padding, do; for the padding of "same" that is the centre of its window.
    """
    p = torch.arange(size, device=mask.device)
    last = mask.shape[1 + axis] - 1
    ends = [mask.index_select(1 + axis, q.clamp(0, last)) for q in (stride * p, stride * p - before + reach - after)]
    return ends[0] & ends[1] if reach >= before + after else ends[0] | ends[1]


def both(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    """Where two values that are joined hold data."""
    if one is None or two is None or one is two:
        return two if one is None else one
    if one.shape != two.shape:
        refuse(f"joins values with masks of shapes {tuple(one.shape)} and {tuple(two.shape)}; expected the same positions")
    return one & two


def fitting(mask: Tensor | bool | None, batch: int, size: tuple[int, ...], device: torch.device) -> Tensor | None:
    """The mask of data with these positions, if any; True stands for data everywhere."""
    if not size:
        return None
    if mask is None or not isinstance(mask, Tensor):
        return torch.ones(batch, *size, dtype=torch.bool, device=device) if mask else None
    if tuple(mask.shape) != (batch, *size):
        raise ValueError(placed(f"expected a mask of shape {(batch, *size)}, (N, *positions), got {tuple(mask.shape)}"))
    return mask
