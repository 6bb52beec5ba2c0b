"""Pools of two that a run adds up itself: what every packed plane counts goes straight to the packed planes that it is pooled to.

Position p of plane d lies in the pooled plane D = (p + d) // 2 - p // 2: of an even d all do in d / 2, of an odd one the even p
in (d - 1) / 2, the odd p in (d + 1) / 2. A warp takes the planes of one displacement of rows, a line, one after the other, and
lines of one launch share no pooled plane: every sum has one order, and the same bits each time. Planes whose displacements are
even along both axes come first, and begin the pooled planes, one each.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..engine.tables import Table
from .packing import Packed, Plane
from .reduction import Gathered

ENTRY = 8  # whole numbers of a plane: its number, both displacements, nothing, and four times a pooled plane with what it takes
NOWHERE = -16  # in place of a pooled plane


class Lines(NamedTuple):
    """Lines of one launch: the first entry, how many lines, planes of each, how many of even columns, and the parity of rows."""

    begin: int
    count: int
    planes: int
    evens: int
    odd: bool


class Spread:
    """The tables of a reduction of `planes` to packed planes; `of` says where there is one."""

    def __init__(self, gathered: Gathered, target: Packed, planes: list[Plane], weight: float):
        assert gathered.packed is not None
        self.source, self.target, self.planes, self.weight = gathered.packed, target, planes, weight

    @staticmethod
    def of(gathered: Gathered, target: Packed, planes: list[Plane]) -> Spread | None:
        """None where the reduction is no mean or sum over 2 x 2, or a lane does not hold all that is added up."""
        assert gathered.packed is not None
        one, two = gathered.packed.layout, target.layout
        if one.lanes != two.lanes or one.tile != (2 * two.tile[0], 2 * two.tile[1]):
            return None
        weights = [_weight(*given) for given in zip(gathered.tables, gathered.wanted, strict=True)]
        return None if None in weights else Spread(gathered, target, planes, weights[0] * weights[1])  # type: ignore[operator]

    @cached_property
    def _at(self) -> np.ndarray:
        """(entries, 2): the packed planes, and those of even displacements that are missing, so that all pooled planes begin."""
        here, (h, w) = set(self.source.residues), self.source.layout.size
        begin = [(2 * a % h, 2 * b % w) for a, b in self.target.residues]
        return np.array([*self.source.residues, *(d for d in begin if d not in here)]).reshape(-1, 2)

    @cached_property
    def _codes(self) -> np.ndarray:
        """(entries, ENTRY): the last four are 16 times a pooled plane, and a bit for each plane of four that counts there."""
        (h, w), at = self.source.layout.size, self._at
        have = np.zeros((2 * h, 2 * w), dtype=bool)
        have[tuple(np.array(self.planes).T)] = True  # displacements modulo twice the size
        wanted = np.zeros((h, w), dtype=bool)
        wanted[tuple(np.array(self.target.planes).T)] = True
        number = np.full((h // 2, w // 2), -1)
        number[tuple(np.array(self.target.residues).T)] = np.arange(self.target.count)
        out = np.zeros((len(at), ENTRY), dtype=np.int32)
        out[: self.source.count, 0], out[:, 1:3] = np.arange(self.source.count), at
        for i, j in np.ndindex(2, 2):
            some = ((at[:, 0] % 2 == 1) | (i == 0)) & ((at[:, 1] % 2 == 1) | (j == 0))
            bits = np.zeros(len(at), dtype=np.int32)
            for y, x in np.ndindex(2, 2):
                d0, d1 = at[:, 0] - y * h, at[:, 1] - x * w
                bits |= (have[d0, d1] & wanted[d0 // 2 + i, d1 // 2 + j]) << (2 * y + x)
            pooled = number[(at[:, 0] // 2 + i) % (h // 2), (at[:, 1] // 2 + j) % (w // 2)]
            out[:, 4 + 2 * i + j] = np.where(some & (pooled >= 0), 16 * pooled + bits, NOWHERE)
        return out

    @cached_property
    def _order(self) -> tuple[list[np.ndarray], list[Lines]]:
        """The entries of all lines, filled up with planes that count nowhere so that all have one length, and the launches."""
        rows, columns = self._at.T
        across, half = self.source.layout.tile[1], self.source.layout.size[0] // 2
        found: dict[tuple[bool, int], list[tuple[np.ndarray, np.ndarray]]] = {}
        for row in np.unique(rows):
            line = np.flatnonzero(rows == row)
            line = line[np.lexsort((columns[line], columns[line] % across))]  # neighbours read the same lines of tables
            odd, j = row % 2 == 1, row // 2
            group = 0 if not odd else 2 if half % 2 and j == half - 1 else j % 2  # rows j and j + 1 of what is pooled, in a ring
            found.setdefault((bool(odd), group), []).append(tuple(line[columns[line] % 2 == p] for p in (0, 1)))  # type: ignore[arg-type]
        entries, launches, begin = [], [], 0
        for (odd, _), lines in sorted(found.items()):
            evens, odds = (max(len(line[p]) for line in lines) for p in (0, 1))
            for line in lines:
                entries += [
                    np.pad(part, (0, n - len(part)), constant_values=-1) for part, n in zip(line, (evens, odds), strict=True)
                ]
            launches.append(Lines(begin, len(lines), evens + odds, evens, odd))
            begin += len(lines) * (evens + odds)
        return entries, launches

    @property
    def launches(self) -> list[Lines]:
        """In the order in which they run."""
        return self._order[1]

    @cached_property
    def table(self) -> Tensor:
        """(entries, ENTRY) on the device."""
        nothing = np.array([[0] * 4 + [NOWHERE] * 4], dtype=np.int32)  # what fills lines up
        codes = np.concatenate([self._codes, nothing])
        return torch.from_numpy(codes[np.concatenate(self._order[0])]).to(self.target.device)


def _weight(table: Table, wanted: list[int]) -> float | None:
    """What every position counts along an axis, where each goes to the plane said above and to no other, and all count alike."""
    lowest, positions, start, plane, place, coefficient = table
    d, p = np.divmod(np.arange(len(start) - 1), positions)
    q = p + d + lowest
    pooled = q // 2 - p // 2
    there = (q >= 0) & (q < positions) & np.isin(pooled, wanted)
    if positions % 2 or not there.any() or not np.array_equal(np.diff(start), there):
        return None
    to, counts = np.asarray(wanted)[plane], np.asarray(coefficient)  # one entry of each table for every position there
    right = np.array_equal(to, pooled[there]) and np.array_equal(place, p[there] // 2) and (counts == counts[0]).all()
    return float(counts[0]) if right else None
