"""Packed planes: positions p and p + d modulo the size side by side, tile by tile of a warp's lanes.

Plane d of a value of H x W positions lies in the packed plane d modulo (H, W), as do d - (H, 0), d - (0, W) and d - (H, W): at a
position they are told apart by whether p + d leaves the grid. Lane (ly, lx) of LY x LX holds the R x C positions from
(ly R, lx C) on, and memory has element after element, lanes side by side, so that a warp reads and writes whole lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .cells import Cells

Plane = tuple[int, int]
_LANES = 32
_MOST = 32  # positions of a lane, which are registers


@dataclass(frozen=True)
class Layout:
    """How the positions of one size lie on lanes."""

    size: Plane
    lanes: Plane
    vector: int = 1  # columns of a lane that lie beside each other in a table, which one instruction reads

    @staticmethod
    def of(size: Plane, wide: bool = False) -> Layout | None:
        """The layout with the most lanes at work, tall rather than wide; None where a warp cannot hold a plane."""
        found = [
            (ly * lx, -abs(size[0] // ly - 2 * (size[1] // lx)), ly, lx)
            for ly in range(1, _LANES + 1)
            for lx in range(1, _LANES // ly + 1)
            if size[0] % ly == 0 and size[1] % lx == 0 and size[0] * size[1] // (ly * lx) <= _MOST
        ]
        if not found:
            return None
        lanes = max(found)[2:]
        columns = size[1] // lanes[1]
        return Layout(size, lanes, 1 if wide else next(v for v in (4, 2, 1) if columns % v == 0))

    @property
    def tile(self) -> Plane:
        """R, C: positions of a lane."""
        return self.size[0] // self.lanes[0], self.size[1] // self.lanes[1]

    @property
    def positions(self) -> int:
        """Of a plane."""
        return self.size[0] * self.size[1]

    @property
    def width(self) -> int:
        """Lanes that a plane takes of a program, a power of two."""
        return 1 << (self.lanes[0] * self.lanes[1] - 1).bit_length()

    @cached_property
    def own(self) -> np.ndarray:
        """(R, C / V, lanes, V) flat: the position of every entry of a table of the first input."""
        return self._table(np.arange(self.tile[0]), np.arange(self.tile[1]))

    @cached_property
    def turned(self) -> np.ndarray:
        """(C, 2R, C / V, lanes, V) flat, or (2R, 2C, lanes) without vectors: tables of the second input, which reach into the
        next lanes' tiles: one for every shift of columns, so that vectors stay whole."""
        rows, columns = 2 * self.tile[0], self.tile[1]
        if self.vector == 1:
            return self._table(np.arange(rows), np.arange(2 * columns))
        return np.concatenate([self._table(np.arange(rows), s + np.arange(columns)) for s in range(columns)])

    def _table(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Positions of some rows and columns of every lane's tile, counted on into the next ones."""
        (h, w), (ly, lx), (r, c), v = self.size, self.lanes, self.tile, self.vector
        y = (np.arange(ly)[:, None, None] * r + rows[:, None, None, None, None]) % h  # (rows, 1, LY, 1, 1)
        x = (np.arange(lx)[:, None] * c + columns.reshape(-1, 1, 1, v)) % w  # (columns / V, 1, LX, V)
        return (y * w + x).reshape(-1)

    @cached_property
    def places(self) -> np.ndarray:
        """(positions): where each lies in a packed plane."""
        y, x = np.divmod(np.arange(self.positions), self.size[1])
        (r, c), (ly, lx) = self.tile, self.lanes
        return ((y % r) * c + x % c) * (ly * lx) + y // r * lx + x // c

    @property
    def options(self) -> dict[str, int]:
        """For kernels."""
        return dict(zip(("H", "W", "R", "C", "LY", "LX"), (*self.size, *self.tile, *self.lanes), strict=True))


class Packed:
    """Some planes of a value, packed."""

    def __init__(self, layout: Layout, planes: list[Plane], device: torch.device):
        self.layout, self.planes, self.device = layout, planes, device
        (h, w), (r, c) = layout.size, layout.tile
        residues = {(a % h, b % w) for a, b in planes if abs(a) < h and abs(b) < w}
        self.residues = sorted(residues, key=lambda d: (d[0] % r, d[1] % c, d))  # neighbours read the same lines of tables
        self.index = {d: i for i, d in enumerate(self.residues)}

    @property
    def count(self) -> int:
        """Packed planes of a pair."""
        return len(self.residues)

    @property
    def cells(self) -> int:
        """Numbers of one field of a pair."""
        return self.count * self.layout.positions

    @cached_property
    def plane(self) -> Tensor:
        """(packed planes, 2) on the device."""
        return self._whole(np.array(self.residues).reshape(-1, 2))

    @cached_property
    def lookup(self) -> Tensor:
        """(H, W): the number of every packed plane, -1 for none."""
        found = np.full(self.layout.size, -1)
        for (a, b), i in self.index.items():
            found[a, b] = i
        return self._whole(found)

    @cached_property
    def whole(self) -> bool:
        """Whether every plane of every packed plane is wanted, so that nothing else is summed up."""
        (h, w), wanted = self.layout.size, set(self.planes)
        beside = {(a - i, b - j) for a, b in self.residues for i in ((0, h) if a else (0,)) for j in ((0, w) if b else (0,))}
        return beside <= wanted

    def found_in(self, cells: Cells) -> Tensor:
        """(2H - 1, 2W - 1, 6): where the cells of every plane are."""
        (h, w) = self.layout.size
        return cells.source([(a, b) for a in range(1 - h, h) for b in range(1 - w, w)])

    def joining(self, cells: Cells, fields: int) -> tuple[Tensor, Tensor]:
        """The cells that lie on planes of these, and where: (cells) each, within the packed planes of a pair."""
        which, y, x = cells.coordinates.T
        number = self._numbers(cells.planes, self.planes)[which]
        chosen = np.flatnonzero(number >= 0)
        place = number * (fields * self.layout.positions) + self.layout.places[y * self.layout.size[1] + x]
        return self._whole(chosen), self._whole(place[chosen])

    def numbered(self, box: list[Plane], wanted: tuple[Plane, ...]) -> Tensor:
        """The packed plane of every plane of a list, -1 for those that are not wanted."""
        return self._whole(self._numbers(box, wanted))

    def _numbers(self, planes: Iterable[Plane], wanted: Iterable[Plane]) -> np.ndarray:
        (h, w), some = self.layout.size, set(wanted)
        return np.array([self.index[a % h, b % w] if (a, b) in some else -1 for a, b in planes], dtype=np.int64)

    def entries(self, begins: list[int], second: bool) -> Tensor:
        """Where the entries of tables come from in the numbers of an input, whose values begin there: (values, entries) flat."""
        table = self.layout.turned if second else self.layout.own
        index = np.array(begins, dtype=np.int64)[:, None] + table
        return torch.from_numpy(index.reshape(-1)).to(self.device)

    def _whole(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers, dtype=np.int32)).to(self.device)
