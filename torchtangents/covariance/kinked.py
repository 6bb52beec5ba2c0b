"""Duals of piecewise linear and piecewise constant functions, in terms of angle and distance.

Cho and Saul 2009 (NeurIPS) and 2011 (arXiv 1112.3712) for the arc-cosine kernels; the distance form is this project's
(docs/architecture.md, "Precision").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .bent import expectations
from .dual import Dual
from .pair import Pair, as_column


class ABReLU(Dual):
    """a min(x, 0) + b max(x, 0): ReLU (0, 1), LeakyReLU (slope, 1), Abs (-1, 1), the identity (1, 1)."""

    def __init__(self, a: float | Tensor, b: float | Tensor):
        self.a, self.b = a, b
        linear = not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b
        self.kinked = not linear
        self.breakpoints = () if linear else (0.0,)

    def _constants(self, like: Tensor) -> tuple[float | Tensor, float | Tensor]:
        a, b = as_column(self.a, like), as_column(self.b, like)
        return (a * a + b * b) / 2, (a - b) * (a - b) / (2 * math.pi)

    def function(self, x: Tensor) -> Tensor:
        if not self.breakpoints:
            return self.a * x
        return torch.where(x > 0, as_column(self.b, x) * x, as_column(self.a, x) * x)

    def nngp(self, pair: Pair) -> Tensor:
        return expectations(pair, *self._constants(pair.q), False)[0]

    def slope(self, pair: Pair) -> Tensor:
        return expectations(pair, *self._constants(pair.q), False)[1]

    def distance(self, pair: Pair, out1: Tensor, out2: Tensor) -> Tensor:
        return expectations(pair, *self._constants(pair.q), True)[2]  # type: ignore[return-value]

    def expectations(self, pair: Pair, out: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor | None]:
        return expectations(pair, *self._constants(pair.q), out is not None)

    def gain(self, pair: Pair) -> Tensor:
        return self.nngp(pair)  # x f'(x) = f(x)

    def mean(self, v: Tensor) -> Tensor:
        pair = Pair.equal(v)
        return (as_column(self.b, v) - as_column(self.a, v)) / math.sqrt(2 * math.pi) * pair.x

    def mean_slope(self, v: Tensor) -> Tensor:
        return (as_column(self.a, v) + as_column(self.b, v)) / 2 * torch.ones_like(v)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        """Equal for equal functions, so that one function of one value is computed once."""
        return tuple(("tensor", id(p)) if isinstance(p, Tensor) else p for p in (self.a, self.b))

    def __repr__(self) -> str:
        return f"ABReLU({self.a}, {self.b})"


class Sign(Dual):
    """sign(x): E f f' = 1 - 2 theta / pi; its derivative is 0 almost everywhere, so nothing below it trains."""

    kinked = True
    breakpoints = (0.0,)

    def function(self, x: Tensor) -> Tensor:
        return x.sign()

    def nngp(self, pair: Pair) -> Tensor:
        return torch.where(pair.m > 0, 1 - 2 / math.pi * pair.theta, 0)

    def slope(self, pair: Pair) -> Tensor:
        return torch.zeros_like(pair.m * pair.q)

    def distance(self, pair: Pair, out1: Tensor, out2: Tensor) -> Tensor:
        return torch.where(pair.m > 0, 4 / math.pi * pair.theta, out1 + out2)

    def gain(self, pair: Pair) -> Tensor:
        return self.slope(pair)

    def mean(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def mean_slope(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def regression(self, v: Tensor) -> Tensor:
        x = Pair.equal(v).x
        return math.sqrt(2 / math.pi) * torch.where(x > 0, 1 / torch.where(x > 0, x, 1), 0)
