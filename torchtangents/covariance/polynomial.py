"""Closed-form duals of polynomials, by their expansion in Hermite polynomials of the variance itself.

With He_l^(v)(u) = v^(l/2) He_l(u / sqrt v), E He_l^(v1)(u) He_k^(v2)(v) = l! q^l [l = k] (Mehler 1866; Daniely, Frostig
and Singer 2016, arXiv 1602.05897). So f = sum_l a_l(v) He_l^(v) gives

    E f f' = sum_l l! a_l(v1) a_l(v2) q^l,   E f' f' = sum_l l l! a_l(v1) a_l(v2) q^(l-1),   E f = a_0(v),

polynomials in v1, v2 and q: nothing is divided by a variance, and zero inputs are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair

LARGEST = 150  # degree above which E x^(2n) at variance 1 overflows float64
Coefficients = Sequence[float] | Tensor


def horner(parts: Sequence[float | Tensor], x: Tensor) -> Tensor:
    """sum_k parts[k] x^k."""
    out: float | Tensor = 0.0
    for part in reversed(parts):
        out = part if isinstance(out, float) and out == 0 else out * x + part
    return torch.zeros_like(x) + out


class HermiteSeries(Dual):
    """sum_l a_l(v) He_l^(v); subclasses say how the a_l depend on the variance."""

    tabulates = False
    degree: int

    def level(self, l: int, v: Tensor) -> Tensor | None:
        """a_l(v); None where it is 0."""
        raise NotImplementedError

    def _gain_level(self, l: int, v: Tensor) -> Tensor | None:
        """The level of u f'(u): l a_l(v) + (l + 2)(l + 1) v a_(l+2)(v), since u He_l' = l (He_l + (l - 1) v He_(l-2))."""
        here, above = self.level(l, v), self.level(l + 2, v) if l + 2 <= self.degree else None
        if here is None or above is None:
            return (l + 2) * (l + 1) * v * above if above is not None else None if here is None else l * here
        return l * here + (l + 2) * (l + 1) * v * above

    def _sum(self, pair: Pair, drop: int, level: Callable[[int, Tensor], Tensor | None] | None = None) -> Tensor:
        """sum_l l! l^drop a_l(v1) a_l(v2) q^(l - drop)."""
        level = level or self.level
        terms: list[float | Tensor] = []
        for l in range(drop, self.degree + 1):
            a1, a2 = level(l, pair.v1), level(l, pair.v2)
            weight = float(math.factorial(l) * l**drop)
            terms.append(0.0 if a1 is None or a2 is None else weight * (a1 * a2))
        return horner(terms, pair.q + 0 * (pair.v1 + pair.v2))

    def nngp(self, pair: Pair) -> Tensor:
        return self._sum(pair, 0)

    def slope(self, pair: Pair) -> Tensor:
        return self._sum(pair, 1)

    def gain(self, pair: Pair) -> Tensor:
        return self._sum(pair, 0, self._gain_level)

    def mean(self, v: Tensor) -> Tensor:
        a = self.level(0, v)
        return torch.zeros_like(v) if a is None else a


class Polynomial(HermiteSeries):
    """sum_i c_i x^i: a_l(v) = sum_k c_(l+2k) (l+2k)! / (2^k k! l!) v^k."""

    def __init__(self, coefficients: Coefficients):
        self.coefficients = coefficients if isinstance(coefficients, Tensor) else tuple(float(c) for c in coefficients)
        self.degree = len(coefficients) - 1

    def function(self, x: Tensor) -> Tensor:
        c = self.coefficients.to(x) if isinstance(self.coefficients, Tensor) else self.coefficients
        return horner(c, x)

    def level(self, l: int, v: Tensor) -> Tensor | None:
        parts: list[float | Tensor] = []
        for k, i in enumerate(range(l, self.degree + 1, 2)):
            c = self.coefficients[i]
            count = math.factorial(i) // (2**k * math.factorial(k) * math.factorial(l))  # pairings of i into l and k pairs
            parts.append(c.to(v) * float(count) if isinstance(c, Tensor) else c * float(count))
        if all(isinstance(p, float) and p == 0 for p in parts):
            return None
        return horner(parts, v)

    def __repr__(self) -> str:
        return f"Polynomial of degree {self.degree}"


class Hermite(HermiteSeries):
    """He_n(x) / sqrt(n!) at any variance: a_(n-2k)(v) = n! / (2^k k! (n-2k)!) (v - 1)^k / sqrt(n!).

    From exp(t x - t^2 / 2) = exp(t x - v t^2 / 2) exp((v - 1) t^2 / 2); at variance 1 it is q^n alone.
    """

    def __init__(self, degree: int):
        self.degree = degree

    def function(self, x: Tensor) -> Tensor:
        before, out = torch.zeros_like(x), torch.ones_like(x)
        for k in range(self.degree):
            before, out = out, (x * out - math.sqrt(k) * before) / math.sqrt(k + 1)
        return out

    def level(self, l: int, v: Tensor) -> Tensor | None:
        k, odd = divmod(self.degree - l, 2)
        if odd:
            return None
        count = math.factorial(self.degree) // (2**k * math.factorial(k) * math.factorial(l))
        return float(count) / math.sqrt(math.factorial(self.degree)) * (v - 1) ** k

    def __repr__(self) -> str:
        return f"Hermite({self.degree})"
