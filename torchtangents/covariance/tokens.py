"""Tokens: values drawn once for each number of a vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .grid import Grid
from .node import Context, Memory, Node
from .pair import as_column

Scalar = float | Tensor


class Tokens(Node):
    """Gaussian vectors looked up by token: K(p, q) = power [a(p) = b(q)], Theta = shift [a(p) = b(q)]; 0 for `padding`."""

    def __init__(self, values: Tensor, power: Scalar, shift: Scalar, padding: int | None, dtype: torch.dtype):  # (N, *S)
        super().__init__((), tuple(values.shape[1:]), gaussian=True, centred=True, roots=frozenset([self]))
        held = values.long() + 1  # 0 is for what has no vector
        self.values = held if padding is None else held.masked_fill(values == padding, 0)
        self.power, self.shift, self.dtype = power, shift, dtype

    def widen(self) -> None:
        """Compute in float64."""
        self.dtype = torch.float64

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None

    def run(self, context: Context, *blocks: Block) -> Block:
        twin = context.twin
        assert isinstance(twin, Tokens)
        grid = Grid(context.wanted, self.size, twin.size)
        a, b = grid.left(self.values[context.batch1]), grid.right(twin.values[context.batch2])
        if not context.own:
            a, b = a.unsqueeze(1), b.unsqueeze(0)
        equal = ((a == b) & (a > 0)).to(self.dtype)
        power, shift = as_column(self.power, equal), as_column(self.shift, equal)
        distance = None
        if context.distance:
            distance = grid.mask(power * ((a > 0).to(equal) + (b > 0).to(equal) - 2 * equal))
        return Block(grid, power * equal, distance, shift * equal if context.ntk else None)
