"""Steps that read every plane of their input: whole matrices of positions (T1, T2), all axes in one, in place of planes."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .grid import Grid, Planes, Size, every_plane
from .laws import equal_positions
from .node import Context, Memory, Node
from .pair import floored, safe_sqrt


def whole(grid: Grid, values: Tensor) -> Tensor:
    """Every plane (*batch, P.., S..) as matrices (*batch, T1, T2)."""
    n, batch = grid.n, values.shape[: values.ndim - 2 * grid.n]
    planes, places = [], []
    for axis in range(n):
        p = torch.arange(grid.size1[axis], device=values.device)
        q = torch.arange(grid.size2[axis], device=values.device)
        shape = [1] * (2 * n)
        shape[axis], shape[n + axis] = len(p), len(q)
        planes.append((q[None] - p[:, None] + len(p) - 1).reshape(shape))
        places.append(p.reshape([len(p) if a == axis else 1 for a in range(2 * n)]))
    dense = values[(slice(None),) * len(batch) + (*planes, *places)] if n else values
    return dense.reshape(*batch, count(grid.size1), count(grid.size2))


def count(size: Size) -> int:
    """Number of positions of all axes."""
    return torch.Size(size).numel()


class Dense(Node):
    """A step that reads all pairs of positions; it runs in float64, where sums over positions may cancel."""

    local = False
    wide = True

    def reads(self, twin: Node, wanted: Planes) -> Planes:
        return every_plane(self.inputs[0].size, twin.inputs[0].size)

    def grid(self, context: Context) -> Grid:
        """The grid of the output."""
        return Grid(context.wanted, self.size, context.twin.size)

    @staticmethod
    def planes(grid: Grid, matrix: Tensor) -> Tensor:
        """Matrices (*batch, T1, T2) on the planes of a grid."""
        return grid.at_planes(matrix.reshape(*matrix.shape[:-2], *grid.size1, *grid.size2))

    @staticmethod
    def spread(context: Context, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Per-input tensors of both sides, shaped so that they broadcast over the batch of pairs."""
        return (one, two) if context.own else (one.unsqueeze(1), two.unsqueeze(0))


class Mix(Dense):
    """h'(p) = sum_k G(p, k) h(k) with a matrix for each input: K' = G1 K G2^T, as `maps.Linear` completes distances.

    D' = G1 D12 G2^T - h1 - h2 + (s1 - s2)(alpha1 - alpha2), with s the sums of rows, alpha = G v, h = diag(G D11 G^T) / 2.
    At equal positions D' is at most (sqrt(sum|g1| sum_k |g1(k)| D12(k, k)) + sum_k |g1(k) - g2(k)| y(k))^2 (Jensen, Minkowski),
    which is exactly 0 for equal inputs.
    """

    def __init__(self, source: Node, size: Size, *others: Node):
        super().__init__((source, *others), size, gaussian=source.gaussian, centred=source.centred)

    def matrices(self, context: Context) -> tuple[Tensor, Tensor]:
        """G of both sides, (N, T', T)."""
        return context.memory1["rows"], context.memory2["rows"]

    def rows(self, context: Context, *blocks: Block) -> Tensor:
        """G from the self blocks of each input, (N, T', T)."""
        raise NotImplementedError

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        block, g = blocks[0], self.rows(context, *blocks)
        kept: Memory = {"rows": g}
        if context.distance:
            assert block.distance is not None
            v = block.variances().flatten(1)
            distance = g @ whole(block.grid, block.distance) @ g.transpose(1, 2)
            kept["deviation"] = safe_sqrt(v)
            kept["alpha"] = self._placed((g @ v[..., None])[..., 0])
            kept["sum"] = self._placed(g.sum(2))
            kept["half"] = self._placed(distance.diagonal(dim1=1, dim2=2) / 2)
        return kept

    def _placed(self, v: Tensor) -> Tensor:
        return v.reshape(len(v), *self.size)

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else self._placed((memory["rows"] @ means[0].flatten(1)[..., None])[..., 0])

    def run(self, context: Context, *blocks: Block) -> Block:
        block, grid = blocks[0], self.grid(context)
        g1, g2 = self.spread(context, *self.matrices(context))

        def change(part: Tensor) -> Tensor:
            return self.planes(grid, g1 @ whole(block.grid, part) @ g2.transpose(-1, -2))

        ntk = None if block.ntk is None else change(block.ntk)
        distance = None
        if context.distance and block.distance is not None:
            distance = change(block.distance)
            (h1, h2), (s1, s2), (a1, a2) = (context.sides(name, grid) for name in ("half", "sum", "alpha"))
            distance = floored(distance - h1 - h2 + (s1 - s2) * (a1 - a2))
            distance = grid.mask(torch.minimum(distance, self._bound(context, grid, block, g1, g2)))
        return Block(grid, change(block.nngp), distance, ntk)

    def _bound(self, context: Context, grid: Grid, block: Block, g1: Tensor, g2: Tensor) -> Tensor:
        """The largest D' possible: finite at equal positions of inputs of one size."""
        assert block.distance is not None
        infinite = torch.full((), torch.inf).to(block.nngp)
        if g1.shape[-2:] != g2.shape[-2:] or any(0 not in d for d in grid.planes):
            return infinite
        _, y = self.spread(context, context.memory1["deviation"], context.memory2["deviation"])
        equal = whole(block.grid, block.distance).diagonal(dim1=-2, dim2=-1)  # (*batch, T)
        weight = g1.abs()
        near = weight.sum(-1) * (weight @ equal[..., None])[..., 0]
        apart = ((g1 - g2).abs() * y[..., None, :]).sum(-1)  # (*batch, T')
        bound = (safe_sqrt(near) + apart).square()
        bound = bound.reshape(*bound.shape[:-1], *(1,) * grid.n, *grid.size1)
        on_plane = equal_positions(grid, torch.ones((1,) * (2 * grid.n)).to(bound), tuple(range(grid.n)))
        return torch.where(on_plane > 0, bound, infinite)

    def cost(self) -> int:
        return 4 * count(self.inputs[0].size)
