"""Closed-form duals of piecewise polynomials of low degree: Hardtanh, ReLU6, Hardswish, Hardsigmoid, clamps, shrinkage.

f is the polynomial p around 0 and one truncated power for each kink, away from 0: f(x) = p(x) + sum c (+-(x - b))_+^k with
+ for b >= 0 and - for b < 0. So small inputs see p alone, at their own scale. The products have closed forms:
polynomials as in `polynomial`, E p(u) g(v) = sum_l a_l(v1) q^l E g^(l)(v), and the moments of `quadrant` for two kinks
(Owen 1956). Where standard deviations are thousands of times the kinks the sum cancels, and quadrature serves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair, with_derivatives_of
from .polynomial import Polynomial, horner
from .quadrant import Quadrant, density, tail
from .quadrature import Quadrature, in_pieces
from .untied import untied

_FAR = 1e6  # standard deviations over the largest kink, multiplied and to the degree: the sum loses more than 1e-10
_BUDGET = 1 << 16  # pairs at a time
Pieces = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Kink:
    """c (+-(x - at))_+^power."""

    at: float
    power: int
    c: float

    @property
    def side(self) -> int:
        """+1: the power is of what lies above, -1: of what lies below."""
        return 1 if self.at >= 0 else -1


class Spline(Dual):
    """Polynomials (constant first) between breakpoints; one more piece than breakpoints. `slope` leaves out jumps."""

    def __init__(self, breakpoints: Sequence[float], pieces: Sequence[Sequence[float]], name: str):
        self.breakpoints = tuple(float(b) for b in breakpoints)
        self.pieces: Pieces = tuple(tuple(float(c) for c in p) for p in pieces)
        self.name = name
        self.kinked = any(abs(_at(_derived(a), b) - _at(_derived(c), b)) > 0 for a, c, b in self._meetings())
        self._parts = self._expanded(self.pieces)
        self._slopes = self._expanded(tuple(_derived(p) for p in self.pieces))

    def _meetings(self):
        return zip(self.pieces[:-1], self.pieces[1:], self.breakpoints, strict=True)

    def _expanded(self, pieces: Pieces) -> tuple[Polynomial, tuple[Kink, ...]]:
        """The piece around 0 (left of it, where 0 is a breakpoint), and the truncated powers."""
        middle = sum(b < 0 for b in self.breakpoints)
        kinks = []
        for i, b in enumerate(self.breakpoints):
            low, high = pieces[i], pieces[i + 1]
            inner, outer, side = (low, high, 1) if b >= 0 else (high, low, -1)
            for power, c in enumerate(_shifted(_difference(outer, inner), b)):
                if c:
                    kinks.append(Kink(b, power, c * side**power))
        return Polynomial(pieces[middle]), tuple(kinks)

    @cached_property
    def _numeric(self) -> Quadrature:
        return Quadrature(self.function, self.breakpoints, self.name, kinked=self.kinked)

    def function(self, x: Tensor) -> Tensor:
        out = horner(self.pieces[0], x)
        for b, p in zip(self.breakpoints, self.pieces[1:], strict=True):
            out = torch.where(x > b, horner(p, x), out)
        return out

    def nngp(self, pair: Pair) -> Tensor:
        return untied(self._expectation(pair, self._parts, self._numeric.nngp), pair, self.slope)

    def slope(self, pair: Pair) -> Tensor:
        value = self._expectation(pair, self._slopes, self._numeric.slope)
        if self.kinked or not pair.tracked:
            return value
        return untied(value, pair, Spline(self.breakpoints, [_derived(p) for p in self.pieces], f"f' of {self}").slope)

    def gain(self, pair: Pair) -> Tensor:
        return Spline(self.breakpoints, [(0.0, *_derived(p)) for p in self.pieces], f"u f'(u) of {self}").nngp(pair)

    def mean(self, v: Tensor) -> Tensor:
        base, kinks = self._parts
        x = Pair.equal(v).x
        return base.mean(v) + sum((k.c * x**k.power * tail(_ratio(k, x), k.power) for k in kinks), torch.zeros_like(v))

    def _expectation(self, pair: Pair, parts: tuple[Polynomial, tuple[Kink, ...]], numeric) -> Tensor:
        shape, dtype = pair.shape, pair.q.dtype
        pair = pair.to(torch.float64)
        q = with_derivatives_of(pair.m * pair.theta.cos(), pair.q) if pair.tracked else pair.q  # all of them by the angle
        columns = [t.expand(shape).flatten() for t in (pair.x, pair.y, q, pair.theta)]
        if not len(columns[0]):
            return pair.q.expand(shape).to(dtype)
        out = in_pieces(lambda *piece: self._piece(parts, *piece), columns, _BUDGET).reshape(shape)
        far = self._inaccurate(*columns[:2]).reshape(shape)
        if bool(far.any()):
            some = Pair(*(t.expand(shape)[far] for t in (pair.v1, pair.v2, pair.q, pair.squared_distance)))
            out = out.masked_scatter(far, numeric(some))
        return out.to(dtype)

    def _inaccurate(self, x: Tensor, y: Tensor) -> Tensor:
        """Where the terms are much larger than their sum: far beyond all kinks."""
        scale = max(abs(b) for b in self.breakpoints) or 1.0
        return (x / scale).clamp_min(1) * (y / scale).clamp_min(1) > _FAR ** (1 / max(1, *(len(p) - 1 for p in self.pieces)))

    def _piece(self, parts: tuple[Polynomial, tuple[Kink, ...]], x: Tensor, y: Tensor, q: Tensor, theta: Tensor) -> Tensor:
        base, kinks = parts
        v1, v2, c = x * x, y * y, theta.cos()
        out = base.nngp(Pair(v1, v2, q))
        for k in kinks:
            for v, near, far in ((v1, x, y), (v2, y, x)):
                out = out + k.c * _crossed(base, v, near * c, far, k)
        by_place: dict[tuple[float, float], Quadrant] = {}
        for one in kinks:
            for two in kinks:
                place = one.at, two.at
                if place not in by_place:
                    angle = theta if one.side == two.side else math.pi - theta
                    by_place[place] = Quadrant(_ratio(one, x), _ratio(two, y), angle)
                moment = by_place[place].moment(one.power, two.power)
                out = out + one.c * two.c * x**one.power * y**two.power * moment
        return out

    def __repr__(self) -> str:
        return self.name


def _crossed(base: Polynomial, v: Tensor, along: Tensor, y: Tensor, k: Kink) -> Tensor:
    """E p(u) (+-(v - b))_+^k: sum_l a_l (x c)^l y^k times the l-th derivative's expectation; `along` is x c, signed by side."""
    a, out = _ratio(k, y), torch.zeros_like(y)
    for l in range(base.degree + 1):
        level = base.level(l, v)
        if level is None:
            continue
        if l <= k.power:
            value = math.perm(k.power, l) * tail(a, k.power - l)
        else:
            value = math.factorial(k.power) * _hermite(l - k.power - 1, a) * density(a)
        out = out + level * (k.side * along) ** l * y**k.power * value
    return out


def _hermite(n: int, x: Tensor) -> Tensor:
    before, out = torch.zeros_like(x), torch.ones_like(x)
    for k in range(n):
        before, out = out, x * out - k * before
    return out


def _ratio(k: Kink, x: Tensor) -> Tensor:
    """|b| / x; where x = 0 nothing lies beyond a kink, and a kink at 0 is met half way."""
    return abs(k.at) / torch.where(x > 0, x, 1e-30 if k.at else 1.0)


def _derived(p: Sequence[float]) -> tuple[float, ...]:
    return tuple(i * c for i, c in enumerate(p))[1:] or (0.0,)


def _at(p: Sequence[float], x: float) -> float:
    return sum(c * x**i for i, c in enumerate(p))


def _difference(p: Sequence[float], q: Sequence[float]) -> list[float]:
    n = max(len(p), len(q))
    return [a - b for a, b in zip([*p, *[0.0] * (n - len(p))], [*q, *[0.0] * (n - len(q))], strict=True)]


def _shifted(p: Sequence[float], b: float) -> list[float]:
    """p as a polynomial of (x - b)."""
    return [sum(math.comb(i, k) * c * b ** (i - k) for i, c in enumerate(p) if i >= k) for k in range(len(p))]
