"""Sums of independent values, and mixtures of groups of channels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .block import Block
from .grid import Grid
from .maps import Linear, Sum
from .node import Context, Memory, Node
from .refusal import refuse

Scalar = float | Tensor


class Combine(Node):
    """sum_k c_k h_k of independent values: second moments add, and so do the products of means across branches.

    K' = sum c^2 K + sum_{j != k} c_j c_k m_j m_k',   D' = sum c^2 D + 2 sum_{j < k} c_j c_k dm_j dm_k.
    """

    def __init__(self, inputs: tuple[Node, ...], coefficients: tuple[Scalar, ...]):
        gaussian = all(i.gaussian for i in inputs)
        super().__init__(inputs, inputs[0].size, gaussian=gaussian, centred=all(i.centred for i in inputs))
        self.coefficients = coefficients
        self.biased = [k for k, i in enumerate(inputs) if not i.centred]
        if sum(not inputs[k].alike for k in self.biased) > 1:
            refuse(
                "adds two values whose means differ from channel to channel (data, a concatenation that was pooled or dropped "
                "out), so that the mean of their product is not known. Expected a Linear or Conv layer at the end of one branch"
            )

    def uses_mean(self, asked: bool) -> bool:
        return asked or len(self.biased) > 1

    def remembers(self, distance: bool) -> bool:
        return len(self.biased) > 1

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        return {str(k): means[k] * self._scale(k, means[k]) for k in self.biased if means[k] is not None}  # type: ignore[operator]

    def _scale(self, k: int, like: Tensor) -> Scalar:
        c = self.coefficients[k]
        return c.to(like) if isinstance(c, Tensor) else c

    def agrees(self, twin: Node) -> bool:
        assert isinstance(twin, Combine)
        pairs = zip(self.coefficients, twin.coefficients, strict=True)
        return all(
            a is b or float(a.detach() if isinstance(a, Tensor) else a) == float(b.detach() if isinstance(b, Tensor) else b)
            for a, b in pairs
        )

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        present = [self._scale(k, m) * m for k, m in enumerate(means) if m is not None]
        return sum(present[1:], start=present[0]) if present else None

    def run(self, context: Context, *blocks: Block) -> Block:
        blocks = tuple(b.select(context.wanted) for b in blocks)
        grid = blocks[0].grid
        squares = [self._scale(k, b.nngp) ** 2 for k, b in enumerate(blocks)]
        q = weighted(squares, [b.nngp for b in blocks])
        d = weighted(squares, [b.distance for b in blocks]) if context.distance else None
        if len(self.biased) > 1:
            q, d = self._with_means(context, grid, q, d)
        return Block(grid, q, d, weighted(squares, [b.ntk for b in blocks]) if context.ntk else None)  # type: ignore[arg-type]

    def _with_means(self, context: Context, grid: Grid, q: Tensor | None, d: Tensor | None):
        assert q is not None
        sides = [context.sides(str(k), grid) for k in self.biased]
        total1, total2 = (torch.stack(torch.broadcast_tensors(*side)).sum(0) for side in zip(*sides, strict=True))
        q = q + grid.mask(total1 * total2 - sum(a * b for a, b in sides))
        if d is not None:
            gaps = [a - b for a, b in sides]
            d = d + grid.mask((total1 - total2).square() - sum(g.square() for g in gaps))
        return q, d

    def cost(self) -> int:
        return 4 * len(self.inputs)


class Mixture(Node):
    """Groups of channels side by side: every moment is the weighted mean over the groups."""

    def __init__(self, inputs: tuple[Node, ...], weights: tuple[float, ...]):
        super().__init__(inputs, inputs[0].size, gaussian=False, centred=all(i.centred for i in inputs))
        self.weights, self.alike = weights, False

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        present = [w * m for w, m in zip(self.weights, means, strict=True) if m is not None]
        return sum(present[1:], start=present[0]) if present else None

    def run(self, context: Context, *blocks: Block) -> Block:
        blocks = tuple(b.select(context.wanted) for b in blocks)
        q = weighted(self.weights, [b.nngp for b in blocks])
        d = weighted(self.weights, [b.distance for b in blocks]) if context.distance else None
        ntk = weighted(self.weights, [b.ntk for b in blocks]) if context.ntk else None
        return Block(blocks[0].grid, q, d, ntk)  # type: ignore[arg-type]


def mixture(groups: dict[Node, float]) -> Node:
    """Groups of channels as one step, recorded once; maps of positions that all groups went through follow it."""
    parts = tuple(groups)
    first = parts[0]
    if len(parts) == 1:
        return first
    key = ("mixture", frozenset(groups.items()))
    if key not in first.cache:
        if len({_map_of(p) for p in parts}) == 1 and isinstance(first, (Linear, Sum)):
            inner: dict[Node, float] = {}
            for part, weight in groups.items():
                inner[part.inputs[0]] = inner.get(part.inputs[0], 0.0) + weight
            source = mixture(inner)
            mixed = (
                Linear(source, first.axis, first.rows) if isinstance(first, Linear) else Sum(source, first.axis, first.average)
            )
        else:
            mixed = Mixture(parts, tuple(groups.values()))
        for part in parts:
            part.cache[key] = mixed
    return first.cache[key]


def _map_of(node: Node) -> tuple:
    """What a step does to positions, equal for the same map of several groups."""
    if isinstance(node, Linear):
        return (Linear, node.axis, id(node.rows))
    return (Sum, node.axis, node.average) if isinstance(node, Sum) else (node,)


def weighted(weights: Iterable[Scalar], parts: list[Tensor | None]) -> Tensor | None:
    """sum_k w_k part_k; None where the parts are not carried."""
    total: Tensor | None = None
    for w, part in zip(weights, parts, strict=True):
        if part is None:
            return None
        term = part if isinstance(w, float) and w == 1 else w * part
        total = term if total is None else total + term
    return total
