"""Recurrent layers: weights shared over time make the covariance a recursion along each plane."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .block import Block
from .dual import Dual
from .grid import Grid
from .kinked import ABReLU, Sign
from .node import Context, Memory, Node
from .pair import Pair, as_column

Scalar = float | Tensor


class Rates(NamedTuple):
    """Factors of input, of hidden state, and a constant."""

    x: Scalar
    hidden: Scalar
    bias: Scalar

    def of(self, like: Tensor) -> Rates:
        """In the dtype of the values that they multiply."""
        return Rates(*(as_column(r, like) for r in self))  # type: ignore[arg-type]


class Recurrent(Node):
    """g(t) = W_x x(t) + W_h f(g(t - 1)) + b with 0 in place of f(g(-1)).

    K(t, t') = w_x^2 K_x(t, t') + w_h^2 E f f'(t - 1, t' - 1) + b^2, and for the NTK, with the factors `grow` of the direct terms,
    Theta(t, t') = grow_x K_x + grow_h E f f' + grow_b + w_x^2 Theta_x + w_h^2 (E f' f' Theta)(t - 1, t' - 1). Planes never meet.
    Yang 2019 (arXiv 1910.12478); Alemohammad et al. 2020 (arXiv 2006.10246).
    """

    def __init__(self, source: Node, dual: Dual, power: Rates, grow: Rates):
        super().__init__((source,), source.size, gaussian=True, centred=True, roots=frozenset([self]))
        self.dual, self.power, self.grow, self.pending = dual, tuple(power), tuple(grow), False
        self.wide = not isinstance(dual, (ABReLU, Sign))

    def uses_distance(self, asked: bool) -> bool:
        return self.dual.uses_distance(asked)

    def uses_mean(self, asked: bool) -> bool:
        return False

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        x = blocks[0].variances()
        power = Rates(*self.power).of(x)
        variances, outputs = [], []
        for t in range(x.shape[1]):
            v = power.x * x[:, t] + power.bias
            if t:
                v = v + power.hidden * outputs[-1]
            variances.append(v)
            outputs.append(self.dual.nngp(Pair.equal(v)))
        return {"v": torch.stack(variances, 1), "out": torch.stack(outputs, 1)}

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        grid = block.grid
        power, grow = (Rates(*r).of(block.nngp) for r in (self.power, self.grow))
        v1, v2 = context.sides("v", grid)
        out1, out2 = context.sides("out", grid)
        exists = grid.partner(0)[1].to(block.nngp)  # (P, S)
        nngp: list[Tensor] = []
        distance: list[Tensor] = []
        ntk: list[Tensor] = []
        for t in range(grid.size1[0]):
            x = block.nngp[..., t]
            q = power.x * x + power.bias
            d = None if block.distance is None else power.x * block.distance[..., t]
            theta = None if block.ntk is None else grow.x * x + grow.bias + power.x * block.ntk[..., t]
            if t:
                before = exists[:, t - 1]  # whether the second input has a time before this one too
                pair = Pair(v1[..., t - 1], v2[..., t - 1], nngp[-1], distance[-1] if distance else None)
                both = self.dual.nngp(pair) * before
                q = q + power.hidden * both
                if theta is not None:
                    theta = theta + grow.hidden * both + power.hidden * before * self.dual.slope(pair) * ntk[-1]
                if d is not None:
                    one, two = out1[..., t - 1], out2[..., t - 1]
                    d = d + power.hidden * (before * self.dual.distance(pair, one, two) + (1 - before) * one)
            elif d is not None:
                d = d + power.hidden * self._second_alone(context, grid)
            nngp.append(q)
            if d is not None:
                distance.append(d)
            if theta is not None:
                ntk.append(theta)
        parts = [grid.mask(torch.stack(p, -1)) if p else None for p in (nngp, distance, ntk)]
        assert parts[0] is not None
        return Block(grid, parts[0], parts[1] if context.distance else None, parts[2])

    @staticmethod
    def _second_alone(context: Context, grid: Grid) -> Tensor:
        """E f^2 of the second input at the time before, where the first is at its beginning: (*batch, P)."""
        earlier = Grid((tuple(d - 1 for d in grid.planes[0]),), grid.size1, grid.size2)
        return context.right("out", earlier)[..., 0]

    def cost(self) -> int:
        return 70
