"""Where the entries of a plane go when positions are mixed, one axis at a time, as flat tables for csrc."""

from __future__ import annotations

import numpy as np

from ..covariance.maps import Linear, Sum, Trace
from ..covariance.node import Node
from ..covariance.refusal import NotNative
from ..covariance.rows import Rows

_ENTRIES = 1 << 20  # of one table, which a dense matrix over many positions would exceed
Table = tuple[int, int, list[int], list[int], list[int], list[float]]  # lowest displacement, positions, start, plane, place, coef


def one_position() -> Table:
    """An axis of one position that stays as it is."""
    return (0, 1, [0, 1], [0], [0], [1.0])


def kept(have: tuple[int, ...], want: tuple[int, ...], size1: int, size2: int) -> Table:
    """An axis that is not mixed: every position stays, on the planes that are wanted."""
    d, p = _positions(have, size1, size2)
    return _table(have, size1, d, p, d, p, np.ones(len(d)), want)


def mixed(node: Node, twin: Node, have: tuple[int, ...], want: tuple[int, ...], size1: int, size2: int) -> Table:
    """An axis that a step mixes: a sum, a trace or sparse rows."""
    if isinstance(node, Linear):
        assert isinstance(twin, Linear)
        return _rows(node.rows, twin.rows, have, want, size1)
    d, p = _positions(have, size1, size2)
    if isinstance(node, Trace):
        d, p = d[d == 0], p[d == 0]
        coefficient = np.full(len(d), 1 / node.positions)
    else:
        assert isinstance(node, Sum)
        assert isinstance(twin, Sum)
        coefficient = np.full(len(d), node.weight * twin.weight)
    zero = np.zeros(len(d), dtype=np.int64)
    return _table(have, size1, d, p, zero, zero, coefficient, (0,))


def scaled(table: Table, factor: float) -> Table:
    """The same with every coefficient times a factor."""
    return (*table[:-1], [factor * c for c in table[-1]])


def _rows(rows1: Rows, rows2: Rows, have: tuple[int, ...], want: tuple[int, ...], size1: int) -> Table:
    """K'(P, Q) = sum A1[P, i] A2[Q, j] K(i, j)."""
    p1, slot1 = np.nonzero(rows1.index >= 0)
    p2, slot2 = np.nonzero(rows2.index >= 0)
    i, j = rows1.index[p1, slot1], rows2.index[p2, slot2]
    if rows1.dense and len(i) * len(j) > _ENTRIES:
        raise NotNative(f"a matrix of {rows1.size} x {rows1.size_in} positions has no compiled rule")
    d, out = j[None] - i[:, None], p2[None] - p1[:, None]
    coefficient = rows1.coef[p1, slot1][:, None] * rows2.coef[p2, slot2][None]
    chosen = np.isin(d, have) & np.isin(out, want)
    first = np.nonzero(chosen)[0]
    return _table(have, size1, d[chosen], i[first], out[chosen], p1[first], coefficient[chosen], want)


def _positions(have: tuple[int, ...], size1: int, size2: int) -> tuple[np.ndarray, np.ndarray]:
    d = np.repeat(np.asarray(have), size1)
    p = np.tile(np.arange(size1), len(have))
    inside = (p + d >= 0) & (p + d < size2)
    return d[inside], p[inside]


def _table(
    have: tuple[int, ...], size1: int, d: np.ndarray, p: np.ndarray, out: np.ndarray, place: np.ndarray, coef: np.ndarray,
    want: tuple[int, ...],
) -> Table:  # fmt: skip
    lowest = have[0]
    used = np.isin(out, want)
    cell = ((d - lowest) * size1 + p)[used]
    order = np.argsort(cell, kind="stable")
    count = np.bincount(cell, minlength=(have[-1] - lowest + 1) * size1)
    plane = np.searchsorted(np.asarray(want), out[used])
    start = np.concatenate([[0], np.cumsum(count)])
    return (lowest, size1, start.tolist(), plane[order].tolist(), place[used][order].tolist(), coef[used][order].tolist())
