"""Where the positions of every plane of a step lie in memory: plane by plane, row by row, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

Sizes = tuple[tuple[int, int], tuple[int, int]]  # positions of both inputs


@dataclass(frozen=True)
class Cells:
    """The cells of some planes (displacements along both axes) of a value."""

    planes: tuple[tuple[int, int], ...]
    sizes: Sizes
    device: torch.device

    @cached_property
    def places(self) -> np.ndarray:
        """(planes, 6): where its cells start, first row and column, rows and columns, whether it has any."""
        (h1, w1), (h2, w2) = self.sizes
        d0, d1 = np.array(self.planes, dtype=np.int64).reshape(-1, 2).T
        top, left = np.maximum(-d0, 0), np.maximum(-d1, 0)
        rows, columns = np.minimum(h1, h2 - d0) - top, np.minimum(w1, w2 - d1) - left
        there = (rows > 0) & (columns > 0)
        count = np.where(there, rows * columns, 0)
        return np.stack([np.cumsum(count) - count, top, left, rows, columns, there], 1)

    @cached_property
    def total(self) -> int:
        """How many cells there are."""
        _, _, _, rows, columns, there = self.places.T
        return int((rows * columns * there).sum())

    @cached_property
    def coordinates(self) -> np.ndarray:
        """(cells, 3): plane, row and column of the first input's position."""
        out = []
        for number, (_, top, left, rows, columns, there) in enumerate(self.places):
            if there:
                y, x = np.divmod(np.arange(rows * columns), columns)
                out.append(np.stack([np.full(len(y), number), y + top, x + left], 1))
        return np.concatenate(out) if out else np.zeros((0, 3), dtype=np.int64)

    @cached_property
    def cell(self) -> Tensor:
        """The coordinates on the device."""
        return self.whole(self.coordinates)

    @cached_property
    def plane(self) -> Tensor:
        """(planes, 2): displacements on the device."""
        return self.whole(np.array(self.planes, dtype=np.int64).reshape(-1, 2))

    def whole(self, numbers: np.ndarray) -> Tensor:
        """Whole numbers on the device."""
        return torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.int32)).to(self.device)

    def source(self, wanted: list[tuple[int, int]]) -> Tensor:
        """The places of some planes by displacement, those that are not here marked so: (wanted, 6)."""
        index = {d: i for i, d in enumerate(self.planes)}
        missing = np.zeros(6, dtype=np.int64)
        return self.whole(np.stack([self.places[index[d]] if d in index else missing for d in wanted]))
