"""The values that a node of a program takes: covariances of pairs of inputs on a grid of planes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .grid import Grid, Planes, zero_planes


@dataclass(frozen=True)
class Block:
    """Second moments of a value over its channels, for a batch of pairs.

    The batch is (N1, N2) across two sets of inputs, or (N,) for each input with itself.
    `distance` is E(u - v)^2 = v1 + v2 - 2 nngp, carried where a kinked activation follows.
    """

    grid: Grid
    nngp: Tensor  # (*batch, P.., S..)
    distance: Tensor | None = None
    ntk: Tensor | None = None

    def each(self, grid: Grid, change: Callable[[Tensor], Tensor]) -> Block:
        """The same linear change of every part."""
        parts = (self.nngp, self.distance, self.ntk)
        return Block(grid, *(None if part is None else change(part) for part in parts))  # type: ignore[arg-type]

    def select(self, planes: Planes) -> Block:
        """Some of the planes that are held."""
        if planes == self.grid.planes:
            return self
        grid = Grid(planes, self.grid.size1, self.grid.size2)
        return self.each(grid, lambda part: self.grid.select(part, planes))

    @staticmethod
    def joined(parts: list[Block], grid: Grid, dim: int) -> Block:
        """Parts of one block, put together along a dimension of its values."""
        if len(parts) == 1:
            return parts[0]

        def whole(name: str) -> Tensor | None:
            tensors = [getattr(part, name) for part in parts]
            return None if tensors[0] is None else torch.cat(tensors, dim)

        return Block(grid, whole("nngp"), whole("distance"), whole("ntk"))  # type: ignore[arg-type]

    def variances(self) -> Tensor:
        """Plane 0 of a self block: (N, *S)."""
        n = self.grid.n
        zero = self.grid.select(self.nngp, zero_planes(n))
        return zero.reshape(*zero.shape[: zero.ndim - 2 * n], *self.grid.size1)
