"""Closed-form duals of analytic functions, written so that no product of two variances is formed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair, as_column, floored


class Erf(Dual):
    """a erf(b x) + c (Williams 1996, NeurIPS): with R^2 = 1 + 2 b^2 (v1 + v2) + 4 b^4 s^2,

    E f f' = (2 a^2 / pi) atan2(2 b^2 q, R) + c^2.
    """

    def __init__(self, a: float | Tensor = 1.0, b: float | Tensor = 1.0, c: float | Tensor = 0.0):
        self.a, self.b, self.c = a, b, c

    def _constants(self, like: Tensor) -> tuple:
        return tuple(as_column(p, like) for p in (self.a, self.b, self.c))

    def _root(self, pair: Pair) -> Tensor:
        _, b, _ = self._constants(pair.q)
        return pair.root(1 + 2 * b * b * (pair.v1 + pair.v2), 2 * b * b)

    def function(self, x: Tensor) -> Tensor:
        a, b, c = self._constants(x)
        return a * torch.erf(b * x) + c

    def nngp(self, pair: Pair) -> Tensor:
        a, b, c = self._constants(pair.q)
        return 2 / math.pi * a * a * torch.atan2(2 * b * b * pair.q, self._root(pair)) + c * c

    def slope(self, pair: Pair) -> Tensor:
        a, b, _ = self._constants(pair.q)
        return 4 / math.pi * (a * b) * (a * b) / self._root(pair)

    def mean(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v) + self._constants(v)[2]


class GELU(Dual):
    """x Phi(x) (Tsuchida, Pearce et al. 2021, arXiv 2002.08517): with P = (1 + v1)(1 + v2), R^2 = 1 + v1 + v2 + s^2,

    E f f' = q / 4 + (q atan2(q, R) + q^2 / (P R) + v1 v2 R / P) / 2 pi.
    """

    def function(self, x: Tensor) -> Tensor:
        return torch.nn.functional.gelu(x)

    @staticmethod
    def _parts(pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        root = pair.root(1 + pair.v1 + pair.v2, 1.0)
        return root, 1 / (1 + pair.v1), 1 / (1 + pair.v2)

    def nngp(self, pair: Pair) -> Tensor:
        root, left, right = self._parts(pair)
        q = pair.q
        saturated = (pair.v1 * left) * (pair.v2 * right) * root
        return q / 4 + (q * torch.atan2(q, root) + (q * left) * right * (q / root) + saturated) / (2 * math.pi)

    def slope(self, pair: Pair) -> Tensor:
        root, left, right = self._parts(pair)
        ratio = pair.q / root
        factor = 1 + (2 + ratio * ratio) * left * right - (pair.v1 * left) * (pair.v2 * right)
        return 0.25 + (torch.atan2(pair.q, root) + ratio * factor) / (2 * math.pi)

    def mean(self, v: Tensor) -> Tensor:
        return v / (2 * math.pi * (1 + v)).sqrt()


class Sin(Dual):
    """a sin(b x + c): E f f' = (a^2 / 2) (exp(-b^2 D / 2) - cos(2c) exp(-b^2 (v1 + v2 + 2q) / 2))."""

    def __init__(self, a: float | Tensor = 1.0, b: float | Tensor = 1.0, c: float | Tensor = 0.0):
        self.a, self.b, self.c = a, b, c

    def _waves(self, pair: Pair) -> tuple:
        a, b, c = (as_column(p, pair.q) for p in (self.a, self.b, self.c))
        turn = (2 * c).cos() if isinstance(c, Tensor) else math.cos(2 * c)
        difference = torch.exp(-b * b / 2 * floored(pair.squared_distance))  # a rounding below 0 may be large
        total = torch.exp(-b * b / 2 * floored(pair.v1 + pair.v2 + 2 * pair.q))
        return a * a / 2, b * b, difference, turn * total

    def function(self, x: Tensor) -> Tensor:
        a, b, c = (as_column(p, x) for p in (self.a, self.b, self.c))
        return a * torch.sin(b * x + c)

    def nngp(self, pair: Pair) -> Tensor:
        power, _, difference, total = self._waves(pair)
        return power * (difference - total)

    def slope(self, pair: Pair) -> Tensor:
        power, rate, difference, total = self._waves(pair)
        return power * rate * (difference + total)

    def mean(self, v: Tensor) -> Tensor:
        a, b, c = (as_column(p, v) for p in (self.a, self.b, self.c))
        return a * (c.sin() if isinstance(c, Tensor) else math.sin(c)) * torch.exp(-b * b / 2 * v)


class RBF(Dual):
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4), whose dual is exp(-gamma D) (Rahimi and Recht 2007, NeurIPS)."""

    def __init__(self, gamma: float | Tensor = 1.0):
        self.gamma = gamma

    def function(self, x: Tensor) -> Tensor:
        gamma = as_column(self.gamma, x)
        return math.sqrt(2) * torch.sin((2 * gamma) ** 0.5 * x + math.pi / 4)

    def nngp(self, pair: Pair) -> Tensor:
        return torch.exp(-as_column(self.gamma, pair.q) * floored(pair.squared_distance))

    def slope(self, pair: Pair) -> Tensor:
        return 2 * as_column(self.gamma, pair.q) * self.nngp(pair)

    def distance(self, pair: Pair, out1: Tensor, out2: Tensor) -> Tensor:
        return -2 * torch.expm1(-as_column(self.gamma, pair.q) * pair.squared_distance)

    def mean(self, v: Tensor) -> Tensor:
        return torch.exp(-as_column(self.gamma, v) * v)
