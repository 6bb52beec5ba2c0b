"""Learned values at positions, the same for every input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .block import Block
from .grid import Grid, Size
from .node import Context, Node
from .pair import as_column

Scalar = float | Tensor


class Position(Node):
    """Gaussians at positions: K(p, q) = power R(p, q), Theta = shift R(p, q), for all pairs of inputs alike.

    R is a product over the axes: the identity where each position has its own value, ones where they share it; or any matrix
    over all positions together. `like` is a step of the same program that has one block for each pair.
    """

    def __init__(self, like: Node, power: Scalar, shift: Scalar, shared: Sequence[bool], matrix: Tensor | None = None):
        super().__init__((like,), like.size, gaussian=True, centred=True, roots=frozenset([self]))
        self.power, self.shift, self.shared, self.matrix, self.pending = power, shift, tuple(shared), matrix, False

    def uses_distance(self, asked: bool) -> bool:
        return False

    def uses_mean(self, asked: bool) -> bool:
        return False

    def mean(self, memory: dict, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None

    def correlation(self, size1: Size, size2: Size, like: Tensor) -> Tensor:
        """R over all pairs of positions, (*S1, *S2)."""
        if self.matrix is not None:
            return self.matrix.to(like).reshape(*size1, *size2)
        n, out = len(size1), like.new_ones(*size1, *size2)
        for axis, shared in enumerate(self.shared):
            if not shared:
                shape = [size1[axis] if a == axis else size2[axis] if a == n + axis else 1 for a in range(2 * n)]
                out = out * torch.eye(size1[axis], size2[axis]).to(like).reshape(shape)
        return out

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        grid = Grid(context.wanted, self.size, context.twin.size)
        r = grid.at_planes(self.correlation(grid.size1, grid.size2, block.nngp)) + torch.zeros_like(block.nngp)
        power, shift = as_column(self.power, r), as_column(self.shift, r)
        distance = None
        if context.distance:
            v1, v2 = (self._variance(size, block.nngp) for size in (grid.size1, grid.size2))
            distance = grid.mask(power * (grid.left(v1) + grid.right(v2) - 2 * r))
        return Block(grid, power * r, distance, shift * r if context.ntk else None)

    def _variance(self, size: Size, like: Tensor) -> Tensor:
        """R at equal positions, (*S)."""
        t = torch.Size(size).numel()
        return self.correlation(size, size, like).reshape(t, t).diagonal().reshape(size)

    def cost(self) -> int:
        return 2


def square_root(matrix: Tensor) -> Tensor:
    """The symmetric root of a positive semi-definite matrix; ValueError if it is not."""
    values, vectors = torch.linalg.eigh(matrix)
    if float(values.min()) < -1e-6 * float(values.max().clamp_min(1e-30)):
        least = float(values.min())
        raise ValueError(f"expected a covariance of positions that is positive semi-definite, got the eigenvalue {least:.3g}")
    return vectors @ (values.clamp_min(0).sqrt()[:, None] * vectors.T)
