"""Contractions of two blocks' gradients over a parameter: by position products, or through the gradients themselves.

With gradients sum_t g[o, t] x[t] (one output's; o channels, t positions, x of I numbers) the kernel is either
sum_{t, s} (x1_t . x2_s) (g1_t . g2_s), at N1 N2 T^2 (I + D A^2 O) products for A free and D traced or diagonal outputs, or the
product of the gradients, at (N1 + N2) D A T O I + N1 N2 D A^2 O I. Novak, Sohl-Dickstein and Schoenholz 2022 (arXiv 2206.08720).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .uses import Piece

_WORK = 1 << 22  # numbers of one temporary
_GRADIENTS = 1 << 21  # numbers of gradients at a time: more leave the cache, and fresh pages cost more than the product
_FEW, _CUTS = 16, 16  # rows of a product, and the pieces that it is cut into


@dataclass(frozen=True)
class Rows:
    """How the rows R of cotangents split: diagonal, traced, free."""

    diagonal: int
    traced: int
    free: int

    @property
    def count(self) -> int:
        return self.diagonal * self.traced * self.free


@dataclass(frozen=True)
class Sizes:
    """One parameter's sizes: groups, positions, numbers in, numbers out (of one group)."""

    groups: int
    positions: int
    inside: int  # 0 where a table is looked up: comparing indices costs one
    outside: int
    numbers: int

    def products(self, n1: int, n2: int, rows: Rows) -> int:
        """Multiplications by position products."""
        pairs = n1 * n2 * self.groups * self.positions**2
        return pairs * (max(self.inside, 1) + rows.count * rows.free * self.outside + rows.diagonal * rows.free**2)

    def gradients(self, n1: int, n2: int, rows: Rows, same: bool) -> int:
        """Multiplications through the gradients."""
        own = (n1 if same else n1 + n2) * rows.count * self.positions * self.groups * self.outside * max(self.inside, 1)
        return own + n1 * n2 * rows.count * rows.free * self.numbers

    def by_products(self, n1: int, n2: int, rows: Rows, same: bool) -> bool:
        """The cheaper way."""
        return self.products(n1, n2, rows) <= self.gradients(n1, n2, rows, same)


def sizes_of(piece: Piece, numbers: int) -> Sizes:
    """The sizes of a piece."""
    inside = piece.x.shape[-1] if piece.x.ndim == 4 else 0
    return Sizes(piece.g.shape[2], piece.g.shape[3], inside, piece.g.shape[4], numbers)


def dense_product(j1: Tensor, j2: Tensor, rows: Rows) -> Tensor:
    """Gradients (n, R, P) of two blocks as (diagonal, n1, free, n2, free), summed over traced outputs."""
    n1, n2 = len(j1), len(j2)
    out = torch.bmm(_sorted(j1, rows), _sorted(j2, rows).mT)
    return out.reshape(rows.diagonal, n1, rows.free, n2, rows.free)


def _sorted(j: Tensor, rows: Rows) -> Tensor:
    """(n, R, P) as (diagonal, n free, traced P)."""
    n = len(j)
    j = j.reshape(n, rows.diagonal, rows.traced, rows.free, -1).permute(1, 0, 3, 2, 4)
    return j.reshape(rows.diagonal, n * rows.free, -1)


def contract(p1: Piece, p2: Piece, rows: Rows, numbers: int, table: int) -> Tensor:
    """Two blocks of pieces as (diagonal, n1, free, n2, free)."""
    n1, n2 = len(p1.g), len(p2.g)
    same = p1 is p2
    if sizes_of(p1, numbers).by_products(n1, n2, rows, same):
        return _by_products(p1, p2, rows)
    if p1.x.ndim == 3:
        return dense_product(p1.dense(table), p1.dense(table) if same else p2.dense(table), rows)
    return _by_gradients(p1, p2, rows)


def _by_products(p1: Piece, p2: Piece, rows: Rows) -> Tensor:
    (n1, _, groups, t, _), (n2, _, _, s, _) = p1.g.shape, p2.g.shape
    g1, g2 = _channels(p1.g, rows), _channels(p2.g, rows)  # (D, G, n, A, T, C)
    d, a = rows.diagonal, rows.free
    out = g1.new_empty(d, n1, a, n2, a)
    step = max(1, _WORK // max(1, groups * t * n2 * s * a * a))
    right = g2.reshape(d, groups, n2 * a * s, -1).mT
    for i in range(0, n1, step):
        j = min(n1, i + step)
        inner = _inner(p1.x[i:j], p2.x)  # (G, n1, T, n2, S)
        for k in range(d):
            outer = torch.bmm(g1[k, :, i:j].reshape(groups, -1, g1.shape[-1]), right[k])
            outer = outer.reshape(groups, j - i, a, t, n2, a, s)
            if a == 1 and groups * t == 1:
                out[k, i:j] = (outer.reshape(j - i, n2) * inner.reshape(j - i, n2)).reshape(j - i, 1, n2, 1)
            else:
                out[k, i:j] = torch.einsum("gnatmbs,gntms->namb", outer, inner.to(outer.dtype))
    return out


def _channels(g: Tensor, rows: Rows) -> Tensor:
    """(n, R, G, T, O) as (diagonal, G, n, free, T, traced O): traced outputs are channels more."""
    n, _, groups, t, o = g.shape
    g = g.reshape(n, rows.diagonal, rows.traced, rows.free, groups, t, o).permute(1, 4, 0, 3, 5, 2, 6)
    return g.reshape(rows.diagonal, groups, n, rows.free, t, rows.traced * o)


def _inner(x1: Tensor, x2: Tensor) -> Tensor:
    """x1_t . x2_s, or whether indices are equal: (G, n1, T, n2, S)."""
    if x1.ndim == 3:
        return (x1[:, 0, :, None, None] == x2[None, None, :, 0])[None]
    (n, groups, t, _), (m, _, s, _) = x1.shape, x2.shape
    left, right = x1.transpose(0, 1).reshape(groups, n * t, -1), x2.transpose(0, 1).reshape(groups, m * s, -1)
    return torch.bmm(left, right.mT).reshape(groups, n, t, m, s)


def _by_gradients(p1: Piece, p2: Piece, rows: Rows) -> Tensor:
    """The gradients of one diagonal and traced output at a time, some channels at a time: none is ever whole or copied."""
    n1, n2 = len(p1.g), len(p2.g)
    out = p1.g.new_zeros(rows.diagonal, n1 * rows.free, n2 * rows.free)
    _, _, groups, _, channels = p1.g.shape
    step = max(1, math.ceil(_GRADIENTS / max(1, max(n1, n2) * rows.free * groups * p1.x.shape[-1])))
    g1, g2 = (p.g.unflatten(1, (rows.diagonal, rows.traced, rows.free)) for p in (p1, p2))
    for i in range(0, channels, step):
        at = slice(i, min(channels, i + step))
        j1, j2 = (p.g.new_empty(len(p.g), rows.free, groups, at.stop - i, p.x.shape[-1]) for p in (p1, p2))
        for d, t in itertools.product(range(rows.diagonal), range(rows.traced)):
            a = _gradient(p1.x, g1[:, d, t, ..., at], j1)
            b = a if p1 is p2 else _gradient(p2.x, g2[:, d, t, ..., at], j2)
            _add_product(out[d], a, b)
    return out.reshape(rows.diagonal, n1, rows.free, n2, rows.free)


def _gradient(x: Tensor, g: Tensor, out: Tensor) -> Tensor:
    """Inputs (n, G, T, I) and cotangents (n, free, G, T, O) as gradients (n free, numbers), written to `out`."""
    for a, k in itertools.product(range(g.shape[1]), range(g.shape[2])):
        torch.bmm(g[:, a, k].mT, x[:, k], out=out[:, a, k])
    return out.flatten(2).flatten(0, 1)


def _add_product(out: Tensor, j1: Tensor, j2: Tensor) -> None:
    """out += j1 j2^T. A product of few long rows is cut: libraries read such rows at a quarter of the memory's speed."""
    numbers = j1.shape[1]
    if max(out.shape) <= _FEW and numbers % _CUTS == 0:
        cut1, cut2 = (j.unflatten(1, (_CUTS, -1)).transpose(0, 1) for j in (j1, j2))
        out += torch.bmm(cut1, cut2.mT).sum(0)
    else:
        out.addmm_(j1, j2.mT)
