"""The dual of p x above 0 and a (exp(r x) - 1) below: ELU, SELU, CELU, by one-dimensional integrals over an angle.

The lines u = 0 and v = 0 cut the plane of the two Gaussians into four wedges of angles theta and pi - theta, in which f(u)
f(v) is smooth. Along a ray the radial integral has a closed form: with W(k) = sqrt(pi / 2) erfcx(k / sqrt 2),

    G_n(k) = int_0^inf t^(n+1) exp(-t^2 / 2 - k t) dt,   G_0 = 1 - k W,   G_1 = (1 + k^2) W - k,   G_2 = 2 + k^2 - (3 k + k^3) W,

and what is left is an integral over the angle. The closed form of Tsuchida et al. 2021 (arXiv 2002.08517) multiplies
exp(v1 + q) with a bivariate normal probability as small as its inverse, and overflows where this does not.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair
from .polynomial import horner
from .quadrature import in_pieces
from .untied import untied

_BUDGET = 1 << 21  # integrand values at a time
_SPACING, _REACH = 0.1, 3.2  # of the double exponential rule
_ROOT = math.sqrt(math.pi / 2)
_SERIES = 0.25  # below which differences from k = 0 are summed as a series
_TERMS = 16
_LARGE = 50.0  # from where G_1 and G_2 are summed as asymptotic series
_SMALL = 1e-3  # smallest standard deviation below which differences are taken relative to k
_LINEAR = 1e-5  # below which a factor exp(-k t) - 1 is its first two terms


@functools.lru_cache(maxsize=1)
def _rule() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes on (0, 1), their distances from 1 and weights: the double exponential rule (Takahasi and Mori 1974)."""
    t = np.arange(-_REACH, _REACH + _SPACING / 2, _SPACING)
    inner = np.pi / 2 * np.sinh(t)
    weights = _SPACING * np.pi / 4 * np.cosh(t) / np.cosh(inner) ** 2
    with torch.inference_mode(False):
        nodes = [
            torch.from_numpy(a) for a in (1 / (1 + np.exp(-2 * inner)), 1 / (1 + np.exp(2 * inner)), weights / weights.sum())
        ]
    return nodes[0], nodes[1], nodes[2]


def _tail(k: Tensor) -> Tensor:
    """W(k)."""
    return _ROOT * torch.special.erfcx(k / math.sqrt(2))


def _change(n: int, k: Tensor, small: bool) -> Tensor:
    """G_n(k) - G_n(0) for n = 1, 2; `small` asks for it relative to k, at any k."""
    start = (_ROOT, 2.0)[n - 1]
    if n == 1:
        out = (1 + k * k) * _tail(k) - k - start
    else:
        out = k * k - k * (3 + k * k) * _tail(k)
    large = k > _LARGE
    if bool(large.any()):
        r = 1 / torch.where(large, k, _LARGE)
        terms = ([2.0, -12.0, 90.0, -840.0], [6.0, -60.0, 630.0])[n - 1]
        out = torch.where(large, r ** (n + 2) * horner(terms, r * r) - start, out)
    if small:
        near = k.clamp_max(_SERIES)
        terms = [2 ** ((i + n) / 2) * math.gamma(1 + (i + n) / 2) / math.factorial(i) * (-1) ** i for i in range(1, _TERMS)]
        out = torch.where(k < _SERIES, near * horner(terms, near), out)
    return out


def _both(k1: Tensor, k2: Tensor, small: bool) -> Tensor:
    """int t exp(-t^2 / 2) (exp(-k1 t) - 1)(exp(-k2 t) - 1) dt."""
    whole = k1 * _tail(k1) + k2 * _tail(k2) - (k1 + k2) * _tail(k1 + k2)
    if not small:
        return whole
    least, most = torch.minimum(k1, k2), torch.maximum(k1, k2)
    linear = least * (-_change(1, most, small) + least / 2 * _change(2, most, small))
    return torch.where(least < _LINEAR, linear, whole)


def _level(k: Tensor) -> Tensor:
    """int t exp(-t^2 / 2 - k t) dt."""
    return 1 - k * _tail(k)


class ExponentialLinear(Dual):
    """p x for x > 0, a (exp(r x) - 1) below; r > 0."""

    breakpoints = (0.0,)

    def __init__(self, p: float, a: float, r: float, name: str):
        self.p, self.a, self.r, self.name = p, a, r, name
        self.kinked = p != a * r

    def function(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, self.p * x, self.a * torch.expm1(self.r * x.clamp_max(0)))

    def mean(self, v: Tensor) -> Tensor:
        x = Pair.equal(v).x
        return self.p * x / math.sqrt(2 * math.pi) + self.a / 2 * (torch.special.erfcx(self.r * x / math.sqrt(2)) - 1)

    def nngp(self, pair: Pair) -> Tensor:
        return untied(self._over_angles(self._values, pair), pair, self.slope)

    def slope(self, pair: Pair) -> Tensor:
        value = self._over_angles(self._slopes, pair)
        return value if self.kinked else untied(value, pair, lambda some: self._over_angles(self._curvatures, some))

    def _over_angles(self, rule, pair: Pair) -> Tensor:
        shape, dtype = pair.shape, pair.q.dtype
        pair = pair.to(torch.float64)
        columns = [t.expand(shape).reshape(-1, 1) for t in (pair.x, pair.y, pair.theta)]
        if not len(columns[0]):
            return pair.q.expand(shape).to(dtype)
        size = max(1, _BUDGET // (3 * len(_rule()[0])))
        return in_pieces(rule, columns, size).reshape(shape).to(dtype)

    def _values(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        near, rest, weight = (t.to(x) for t in _rule())
        wide, p, a, r = math.pi - theta, self.p, self.a, self.r
        small = bool(r * torch.minimum(x, y).min() < _SMALL)
        sine, other = torch.sin(theta * near), torch.sin(theta * rest)
        rays = x * sine * _change(1, r * y * other, small) + y * sine * _change(1, r * x * other, small)
        mixed = theta[:, 0] * (rays * weight).sum(-1)
        both = (_both(r * x * torch.sin(wide * near), r * y * torch.sin(wide * rest), small) * weight).sum(-1)
        linear = (x * y * (torch.sin(theta) + wide * torch.cos(theta)))[:, 0]
        return (p * p * linear + p * a * mixed + a * a * wide[:, 0] * both) / (2 * math.pi)

    def _slopes(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        near, _, weight = (t.to(x) for t in _rule())
        p, a, sine = self.p, self.a * self.r, torch.sin(theta * near)
        mixed = theta[:, 0] * ((_level(self.r * x * sine) + _level(self.r * y * sine)) * weight).sum(-1)
        return (p * p * (math.pi - theta[:, 0]) + p * a * mixed) / (2 * math.pi) + a * a * self._below(x, y, theta)

    def _curvatures(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        return (self.a * self.r * self.r) ** 2 * self._below(x, y, theta)  # f'' = a r^2 exp(r x) below 0

    def _below(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        """E exp(r (u + v)) where both are below 0."""
        near, rest, weight = (t.to(x) for t in _rule())
        wide = math.pi - theta
        rays = self.r * x * torch.sin(wide * near) + self.r * y * torch.sin(wide * rest)
        return wide[:, 0] * (_level(rays) * weight).sum(-1) / (2 * math.pi)

    def __repr__(self) -> str:
        return self.name
