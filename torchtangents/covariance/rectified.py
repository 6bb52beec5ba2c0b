"""Duals of max(x, 0)^n, the arc-cosine kernels of order n (Cho and Saul 2011, arXiv 1112.3712)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair
from .polynomial import horner
from .untied import untied

Poly = tuple[int, ...]
_ZERO: Poly = ()


@functools.cache
def _moment(j: int, k: int) -> tuple[Poly, Poly]:
    """(P, R) with 2 pi E max(z1, 0)^j max(z2, 0)^k = P(c) (pi - theta) + R(c) sin(theta), c = cos(theta); j + k even.

    Integration by parts: M_jk = (j - 1) M_(j-2),k + c k M_(j-1),(k-1), and for j = 0 < k with the density of z1 at 0,
    M_0k = (k - 1) M_0,(k-2) + c (k - 2)!! sin(theta)^(k-1).
    """
    if j > k:
        return _moment(k, j)
    if k == 0:
        return (1,), _ZERO
    if j == 0:
        p, r = _moment(0, k - 2)
        edge = (0, *_powers((k - 2) // 2))
        return _scaled(p, k - 1), _added(_scaled(r, k - 1), _scaled(edge, math.prod(range(k - 2, 0, -2))))
    if j == 1:  # M_1k = c k M_0,(k-1) + the density of z1 at 0 times E max(z2, 0)^k given z1 = 0
        if k == 1:
            return (0, 1), (1,)
        p, r = _moment(1, k - 2)  # by parts in z2: M_1k = (k - 1) M_1,(k-2) + c M_0,(k-1)
        p0, r0 = _moment(0, k - 1)
        return _added(_scaled(p, k - 1), (0, *p0)), _added(_scaled(r, k - 1), (0, *r0))
    p, r = _moment(j - 2, k)
    p1, r1 = _moment(j - 1, k - 1)
    return _added(_scaled(p, j - 1), _scaled((0, *p1), k)), _added(_scaled(r, j - 1), _scaled((0, *r1), k))


def _powers(n: int) -> Poly:
    """(1 - c^2)^n."""
    out = [0] * (2 * n + 1)
    for i in range(n + 1):
        out[2 * i] = (-1) ** i * math.comb(n, i)
    return tuple(out)


def _scaled(p: Poly, c: int) -> Poly:
    return tuple(c * a for a in p)


def _added(p: Poly, q: Poly) -> Poly:
    n = max(len(p), len(q))
    return tuple(a + b for a, b in zip((*p, *[0] * (n - len(p))), (*q, *[0] * (n - len(q))), strict=True))


def half_moment(n: int) -> float:
    """E max(z, 0)^n for a standard normal z."""
    return math.prod(range(n - 1, 0, -2)) / (2.0 if n % 2 == 0 else math.sqrt(2 * math.pi))


class RectifiedMonomial(Dual):
    """x^n for x >= 0 and 0 below: E f f' = m^n (P_n(cos theta) (pi - theta) + R_n(cos theta) sin theta) / 2 pi.

    The slopes are n^2 times the kernel of order n - 1. Equal, parallel and zero inputs have theta = 0, where this is a
    plain number. At order 0 (a step) the derivative is 0 almost everywhere, as for `Sign`.
    """

    kinked = True
    breakpoints = (0.0,)
    tabulates = False

    def __init__(self, degree: int):
        self.degree = degree

    def function(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x.dtype) if self.degree == 0 else torch.relu(x) ** self.degree

    @staticmethod
    def _kernel(pair: Pair, n: int) -> Tensor:
        p, r = _moment(n, n)
        c = pair.theta.cos()
        value = horner([float(a) for a in p], c) * (math.pi - pair.theta)
        if r:
            value = value + horner([float(a) for a in r], c) * pair.theta.sin()
        value = value / (2 * math.pi)
        if not n:
            return value
        return untied(value * pair.m**n, pair, lambda some: n * n * RectifiedMonomial._kernel(some, n - 1))

    def nngp(self, pair: Pair) -> Tensor:
        value = self._kernel(pair, self.degree)
        if self.degree:
            return value
        # a zero input is 1 surely, so its product with another has the mean of that other
        one, two = pair.v1 > 0, pair.v2 > 0
        return torch.where(one & two, value, torch.where(one | two, 0.5, 1.0).to(value))

    def slope(self, pair: Pair) -> Tensor:
        if self.degree == 0:
            return torch.zeros_like(pair.m * pair.q)
        return self.degree**2 * self._kernel(pair, self.degree - 1)

    def mean(self, v: Tensor) -> Tensor:
        if self.degree == 0:
            return torch.where(v > 0, 0.5, 1.0).to(v)
        return half_moment(self.degree) * Pair.equal(v).x ** self.degree

    def gain(self, pair: Pair) -> Tensor:
        return self.degree**2 * self.nngp(pair)  # x f'(x) = n f(x)

    def __repr__(self) -> str:
        return f"RectifiedMonomial({self.degree})"
