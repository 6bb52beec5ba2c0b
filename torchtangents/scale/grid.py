"""Which tiles a stored kernel has, and which rows and columns each one covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Place = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Square tiles over (N1, N2); of a symmetric kernel those on and above the diagonal are computed and mirrored."""

    shape: tuple[int, int]
    tile: int
    symmetric: bool

    @property
    def sides(self) -> tuple[int, int]:
        """Tiles along each axis."""
        return -(-self.shape[0] // self.tile), -(-self.shape[1] // self.tile)

    @property
    def count(self) -> int:
        """Tiles to compute."""
        rows, columns = self.sides
        return rows * (rows + 1) // 2 if self.symmetric else rows * columns

    def places(self) -> Iterator[Place]:
        """All of them, row by row."""
        rows, columns = self.sides
        for i in range(rows):
            for j in range(i if self.symmetric else 0, columns):
                yield i, j

    def stored(self, place: Place) -> list[Place]:
        """The chunks that hold a tile: its own, and its mirror image's."""
        i, j = place
        return [(i, j), (j, i)] if self.symmetric and i != j else [(i, j)]

    def slices(self, place: Place) -> tuple[slice, slice]:
        """Rows and columns of a tile."""
        i, j = (k * self.tile for k in place)
        return slice(i, min(self.shape[0], i + self.tile)), slice(j, min(self.shape[1], j + self.tile))

    def ragged(self, longer: tuple[int, int]) -> Iterator[Place]:
        """Tiles that are cut off by an edge which moves as the kernel grows to `longer`: they must be computed anew."""
        cut = [old % self.tile != 0 and new > old for old, new in zip(self.shape, longer, strict=True)]
        rows, columns = self.sides
        for i, j in self.places():
            if (cut[0] and i == rows - 1) or (cut[1] and j == columns - 1):
                yield i, j
