"""Nonlinear steps at equal planes: elementwise functions and normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .dual import Dual
from .laws import equal_positions
from .node import Context, Memory, Node
from .pair import Pair, floored
from .refusal import located, refuse


class Pointwise(Node):
    """f of every channel of a Gaussian: K' = E f f', Theta' = Theta E f' f' (+ E u f' v f' below a trained gain)."""

    def __init__(self, source: Node, dual: Dual, gain: tuple[int, ...] | None = None):
        super().__init__((source,), source.size, gaussian=False, centred=False)
        self.dual, self.gain = dual, gain
        if gain is not None and not dual.finite:
            refuse(f"{dual} is a kernel without a function, and a trained gain before it needs one; use elementwise_affine=False")
        self.pending = False

    def uses_distance(self, asked: bool) -> bool:
        return self.dual.uses_distance(asked)

    def uses_mean(self, asked: bool) -> bool:
        return False

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        v = blocks[0].variances()
        kept = {"v": v}
        with located(self.layer):
            self.dual.check(v)
            if context.distance:
                kept["out"] = self.dual.nngp(Pair.equal(v))
        return kept

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        with located(self.layer):
            return self.dual.mean(memory["v"])

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        grid, ntk = block.grid, None
        pair = Pair(*context.sides("v", grid), block.nngp, block.distance)
        with located(self.layer):
            nngp, slope, distance = self.dual.expectations(pair, context.sides("out", grid) if context.distance else None)
            if block.ntk is not None:
                ntk = (self.dual.slope(pair) if slope is None else slope) * block.ntk
                if self.gain is not None:
                    ntk = ntk + equal_positions(grid, self.dual.gain(pair), self.gain)
                ntk = grid.mask(ntk)
            return Block(grid, grid.mask(nngp), None if distance is None else grid.mask(distance), ntk)

    def agrees(self, twin: Node) -> bool:
        assert isinstance(twin, Pointwise)
        return self.dual is twin.dual or _same(self.dual, twin.dual)

    def cost(self) -> int:
        return 60

    def __repr__(self) -> str:
        return repr(self.dual)


def _same(first: Dual, second: Dual) -> bool:
    """Whether two functions have the same values; numbers from the data may hide in one."""
    mine, theirs = vars(first), vars(second)
    if type(first) is type(second) and all(_equal(v, theirs.get(k)) for k, v in mine.items()):
        return True
    try:
        with torch.no_grad():
            one, two = (d.function(torch.linspace(-3.0, 3.0, 25, dtype=torch.float64)) for d in (first, second))
    except RuntimeError:  # a function of the user's that takes another type or device
        return True
    return bool(((one == two) | (one.isnan() & two.isnan())).all())


class Normalize(Node):
    """Layer normalisation over channels and the positions of `axes` (Ba, Kiros, Hinton 2016, arXiv 1607.06450).

    With m the mean, v the centred variance and r = (v + eps)^(-1/2): K' = r1 r2 (K - m1 m2),
    D' = r1 r2 D + (r1 - r2)(v1 r1 - v2 r2). A trained bias adds 1 to the NTK; a trained gain is left to what follows.
    `trained`: the axes along which gain and bias have an entry for each position. A group of channels is normalised by the
    statistics of all channels, `whole`.
    """

    def __init__(
        self, source: Node, axes: tuple[int, ...], eps: float, center: bool, gain: bool, bias: bool, trained: tuple[int, ...],
        whole: Node | None = None,
    ):  # fmt: skip
        shifted = whole is not None and center and not whole.centred
        super().__init__(
            (source,) if whole is None else (source, whole),
            source.size,
            gaussian=source.gaussian and not shifted,
            centred=(source.centred and not shifted) or (whole is None and center and not axes),
            roots=source.roots,  # the statistics are known numbers
        )
        self.axes, self.eps, self.center, self.gain, self.bias = axes, eps, center, gain, bias
        self.trained, self.alike = trained, source.alike

    def uses_mean(self, asked: bool) -> bool:
        return any(not i.centred for i in self.inputs)

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        v, mean = blocks[0].variances(), means[0]
        every, whole = (v, mean) if len(blocks) == 1 else (blocks[1].variances(), means[1])
        dims = tuple(1 + a for a in self.axes)
        kept: Memory = {"v": v}
        if whole is not None and self.center:
            level = whole.mean(dims, keepdim=True).expand_as(whole) if dims else whole
            mean = torch.zeros_like(level) if mean is None else mean
            kept = {"shift": level, "mean": mean, "v": v - 2 * level * mean + level * level}
            every = every - 2 * level * whole + level * level
        spread = every.mean(dims, keepdim=True).expand_as(every) if dims else every
        kept["scale"] = (spread + self.eps).rsqrt()
        return kept

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        if "shift" in memory:
            return (memory["mean"] - memory["shift"]) * memory["scale"]
        return None if means[0] is None else means[0] * memory["scale"]

    def run(self, context: Context, *blocks: Block) -> Block:
        block = blocks[0]
        grid, q, d = block.grid, block.nngp, block.distance if context.distance else None
        r1, r2 = context.sides("scale", grid)
        if "shift" in context.memory1:
            (c1, c2), (m1, m2) = context.sides("shift", grid), context.sides("mean", grid)
            q = q - c1 * m2 - m1 * c2 + c1 * c2
            if d is not None:
                d = floored(d - (c1 - c2) * (2 * (m1 - m2) - (c1 - c2)))
        if d is not None:
            v1, v2 = context.sides("v", grid)
            d = grid.mask(floored(r1 * r2 * d + (r1 - r2) * (v1 * r1 - v2 * r2)))
        ntk = block.ntk
        if ntk is not None:
            ntk = r1 * r2 * ntk
            if self.bias:
                ntk = ntk + equal_positions(grid, torch.ones_like(ntk), self.trained)
            ntk = grid.mask(ntk)
        return Block(grid, grid.mask(r1 * r2 * q), d, ntk)

    def cost(self) -> int:
        return 10


def _equal(a: object, b: object) -> bool:
    return a is b or (isinstance(a, (bool, int, float, str)) and a == b)
