"""Where randomness enters: inputs, random weights, trained gains, dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import native
from .block import Block
from .grid import Grid, Size
from .node import Context, Memory, Node
from .pair import floored

Scalar = float | Tensor
DATA: frozenset = frozenset(["the input"])  # the root of everything that is data: two of them are never independent
_FEW = 8  # channels up to which products and differences are summed directly
_BLOCK = 1 << 22  # products of inputs with themselves at a time


class Input(Node):
    """Data: K(p, q) = sum_c x1_c(p) x2_c(q) / C and D = sum_c (x1_c(p) - x2_c(q))^2 / C."""

    def __init__(self, values: Tensor):  # (N, C, *S)
        super().__init__((), tuple(values.shape[2:]), gaussian=False, centred=False, roots=DATA)
        self.values, self.layer = values, "input"

    def widen(self) -> None:
        """Compute in float64."""
        self.values = self.values.double()

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return self.values.mean(1)

    def run(self, context: Context, *blocks: Block) -> Block:
        assert isinstance(context.twin, Input)
        x1, x2 = self.values[context.batch1], context.twin.values[context.batch2]
        grid = Grid(context.wanted, self.size, context.twin.size)
        channels, dtype = x1.shape[1], x1.dtype
        if channels > _FEW:  # long sums, in float64 for both kinds of pairs
            x1, x2 = x1.double(), x2.double()
        if context.own or channels <= _FEW:
            q, d = self._direct(context, grid, x1, x2)
        else:
            q, d = self._product(grid, x1, x2)
        q = grid.mask((q / channels).to(dtype))
        distance = grid.mask((d / channels).to(dtype)) if context.distance else None
        return Block(grid, q, distance, torch.zeros_like(q) if context.ntk else None)

    def _direct(self, context: Context, grid: Grid, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        q = d = x1.new_zeros(())
        many = 1 if x1.shape[1] <= _FEW else max(1, _BLOCK // max(1, len(x1) * grid.entries))  # channels at a time
        for a, b in zip(x1.split(many, 1), x2.split(many, 1), strict=True):
            a, b = grid.left(a), grid.right(b)
            if not context.own:
                a, b = a.unsqueeze(1), b.unsqueeze(0)
            q = q + (a * b).sum(-1 - 2 * grid.n)
            if context.distance:
                d = d + (a - b).square().sum(-1 - 2 * grid.n)
        return q, d

    def _product(self, grid: Grid, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """A matrix product in float64 for every position and plane; pairs that nearly agree again from differences."""
        left = grid.left(x1).movedim((0, 1), (-2, -1))  # (1.., S.., N1, C)
        right = grid.right(x2).movedim((0, 1), (-2, -1))  # (P.., S.., N2, C)
        q = left @ right.transpose(-1, -2)  # (P.., S.., N1, N2)
        square1, square2 = left.square().sum(-1)[..., :, None], right.square().sum(-1)[..., None, :]
        d = square1 + square2 - 2 * q
        near = (d < 1e-3 * (square1 + square2)).nonzero(as_tuple=True)
        if len(near[0]):
            exact = _differences(left.expand(*right.shape[:-2], *left.shape[-2:]), right, near)
            d = d.index_put(near, exact)
            q = q.index_put(near, ((square1 + square2).expand_as(d)[near] - exact) / 2)
        return q.movedim((-2, -1), (0, 1)), d.movedim((-2, -1), (0, 1))

    def cost(self) -> int:
        return 4 * self.values.shape[1]


def _differences(left: Tensor, right: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    *place, i, j = at
    rows1, rows2 = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    base = torch.zeros_like(i)
    for index, size in zip(place, right.shape[:-2], strict=True):
        base = base * size + index
    return native.squared_differences(rows1, rows2, base * left.shape[-2] + i, base * right.shape[-2] + j)


class Given(Node):
    """Covariances handed in by the user, whole: (N1, N2, *S1, *S2) across, (N, *S, *S) of each input with itself."""

    def __init__(self, size: Size, own: Tensor, cross: Tensor, ntk: Tensor | None):
        super().__init__((), size, gaussian=False, centred=True, roots=DATA)
        self.own, self.cross, self.ntk, self.layer = own, cross, ntk, "input"

    def widen(self) -> None:
        """Compute in float64."""
        self.own, self.cross = self.own.double(), self.cross.double()
        self.ntk = None if self.ntk is None else self.ntk.double()

    def run(self, context: Context, *blocks: Block) -> Block:
        grid = Grid(context.wanted, self.size, context.twin.size)
        pick = (context.batch1,) if context.own else (context.batch1, context.batch2)
        dense = (self.own if context.own else self.cross)[pick]
        q = grid.at_planes(dense)
        ntk = None
        if context.ntk:
            ntk = torch.zeros_like(q) if self.ntk is None or context.own else grid.at_planes(self.ntk[pick])
        distance = None
        if context.distance:
            v1, v2 = context.sides("v", grid) if context.memory1 else _own_sides(grid, dense)
            distance = grid.mask(floored(v1 + v2 - 2 * q))
        return Block(grid, q, distance, ntk)

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        return {"v": _diagonal(self.own[context.batch1], len(self.size))}


def _diagonal(own: Tensor, n: int) -> Tensor:
    """(N, *S, *S) -> (N, *S)."""
    size = own.shape[1 : 1 + n]
    return own.reshape(len(own), size.numel(), size.numel()).diagonal(dim1=1, dim2=2).reshape(len(own), *size)


def _own_sides(grid: Grid, own: Tensor) -> tuple[Tensor, Tensor]:
    v = _diagonal(own, grid.n)
    return grid.left(v), grid.right(v)


class Affine(Node):
    """A random linear layer, with K the mean over its `taps`: the only place with the NTK recursion.

    K' = w2 K + b2,   D' = w2 D,   Theta' = grow K + shift + w2 Theta.
    """

    def __init__(self, source: Node, w2: Scalar, b2: Scalar, grow: Scalar, shift: Scalar, taps: int):
        super().__init__((source,), source.size, gaussian=True, centred=True, roots=frozenset([self]))
        self.w2, self.b2, self.grow, self.shift, self.taps = w2, b2, grow, shift, taps
        self.pending, self.alike = False, True

    def uses_mean(self, asked: bool) -> bool:
        return False

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        w2, b2, grow, shift = (
            v.to(block.nngp) if isinstance(v, Tensor) else v for v in (self.w2, self.b2, self.grow, self.shift)
        )
        mask = block.grid.mask
        scale = w2 / self.taps
        ntk = None if block.ntk is None else mask(grow / self.taps * block.nngp + shift + scale * block.ntk)
        distance = None if block.distance is None else scale * block.distance
        return Block(block.grid, mask(scale * block.nngp + b2), distance, ntk)

    def cost(self) -> int:
        return 8


class Gain(Node):
    """A trained elementwise gain, met by a linear layer: Theta' = Theta + K (at equal positions of `axes`)."""

    def __init__(self, source: Node, axes: tuple[int, ...]):
        super().__init__((source,), source.size, gaussian=source.gaussian, centred=source.centred)
        self.axes, self.pending = axes, True

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        if block.ntk is None:
            return block
        added = equal_positions(block.grid, block.nngp, self.axes)
        return Block(block.grid, block.nngp, block.distance, block.ntk + added)


def equal_positions(grid: Grid, values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The values on plane 0 of some axes, 0 elsewhere."""
    for axis in axes:
        equal = torch.tensor([[float(d == 0)] for d in grid.planes[axis]])
        values = values * grid.spread(equal, axis).to(values)
    return values


class Dropout(Node):
    """Independent masks: K / keep where sample and position are the same, K elsewhere."""

    def __init__(self, source: Node, keep: float):
        super().__init__((source,), source.size, gaussian=False, centred=source.centred)
        self.keep = keep

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        return {"v": blocks[0].variances()}

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        grid, q = block.grid, block.nngp
        more = 1 / self.keep - 1
        same = equal_positions(grid, context.same_sample(q).expand_as(q), tuple(range(grid.n)))
        distance = None
        if context.distance and block.distance is not None:
            v1, v2 = context.sides("v", grid)
            distance = grid.mask(block.distance + more * (same * block.distance + (1 - same) * (v1 + v2)))
        ntk = None if block.ntk is None else block.ntk * (1 + more * same)
        return Block(grid, q * (1 + more * same), distance, ntk)
