"""Closed-form duals of exponentials, in terms of s = x y sin(theta), so that no product of two variances cancels."""

from __future__ import annotations

import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair, as_column
from .refusal import placed, refuse


class Exp(Dual):
    """a exp(b x): E f f' = a^2 exp(b^2 (v1 + v2 + 2q) / 2), b^2 of it for the slopes (Rasmussen and Williams 2006, A.2)."""

    tabulates = False

    def __init__(self, a: float | Tensor = 1.0, b: float | Tensor = 1.0):
        self.a, self.b = a, b

    def function(self, x: Tensor) -> Tensor:
        return as_column(self.a, x) * torch.exp(as_column(self.b, x) * x)

    def nngp(self, pair: Pair) -> Tensor:
        a, b = as_column(self.a, pair.q), as_column(self.b, pair.q)
        return a * a * torch.exp(b * b / 2 * (pair.v1 + pair.v2 + 2 * pair.q))

    def slope(self, pair: Pair) -> Tensor:
        b = as_column(self.b, pair.q)
        return b * b * self.nngp(pair)

    def gain(self, pair: Pair) -> Tensor:
        b, q = as_column(self.b, pair.q), pair.q
        return self.slope(pair) * (q + b * b * (pair.v1 + q) * (pair.v2 + q))

    def mean(self, v: Tensor) -> Tensor:
        b = as_column(self.b, v)
        return as_column(self.a, v) * torch.exp(b * b / 2 * v)


class Gaussian(Dual):
    """a exp(b x^2): with R^2 = 1 - 2 b (v1 + v2) + 4 b^2 s^2, E f f' = a^2 / R and E f' f' = 4 a^2 b^2 q / R^3.

    The determinant (1 - 2 b v1)(1 - 2 b v2) - 4 b^2 q^2 of the Gaussian integral, without its cancellation
    (Williams 1996, NeurIPS). For b > 0 the second moment exists where 1 - 4 b v > 0.
    """

    tabulates = False

    def __init__(self, a: float | Tensor = 1.0, b: float | Tensor = -1.0):
        self.a, self.b = a, b

    def check(self, v: Tensor) -> None:
        b = float(self.b.detach()) if isinstance(self.b, Tensor) else float(self.b)
        largest = float(v.detach().max()) if v.numel() else 0.0
        if b > 0 and 1 - 4 * b * largest <= 0:
            raise ValueError(
                placed(
                    f"Gaussian(b={b:g}) of a variance {largest:.3g} has no second moment. Expected 1 - 4 b v > 0, that is a "
                    f"variance below {1 / (4 * b):.3g}; use a smaller b or w_std, or b < 0"
                )
            )

    def _root(self, pair: Pair) -> Tensor:
        b = as_column(self.b, pair.q)
        return pair.root(1 - 2 * b * (pair.v1 + pair.v2), 2 * b)

    def function(self, x: Tensor) -> Tensor:
        return as_column(self.a, x) * torch.exp(as_column(self.b, x) * x * x)

    def nngp(self, pair: Pair) -> Tensor:
        a = as_column(self.a, pair.q)
        return a * a / self._root(pair)

    def slope(self, pair: Pair) -> Tensor:
        a, b, root = as_column(self.a, pair.q), as_column(self.b, pair.q), self._root(pair)
        return 4 * a * a * b * b * (pair.q / root) / root / root

    def mean(self, v: Tensor) -> Tensor:
        return as_column(self.a, v) / (1 - 2 * as_column(self.b, v) * v).sqrt()


class Gabor(Dual):
    """exp(-x^2) sin(x): with S = v1 + v2, R = 1 + 2 S + 4 s^2 and L = exp(-(S + 4 s^2) / 2R),

    E f f' = L sinh(q / R) / sqrt R,   E f' f' = L (A cosh(q / R) + B sinh(q / R)) / R^(5/2),
    A = 1 + 2 S + 4 (q^2 + v1 v2),   B = 4 q (3 S + 4 s^2 + 2); |q| / R <= 1/4.
    The Fourier transform of a Gaussian, as in Han et al. 2022 (arXiv 2209.04121).
    """

    tabulates = False

    def function(self, x: Tensor) -> Tensor:
        return torch.exp(-x * x) * torch.sin(x)

    @staticmethod
    def _parts(pair: Pair) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        near, far = pair.squares
        total, spread = pair.v1 + pair.v2, near * far
        r = 1 + 2 * total + spread
        return total, spread, r, torch.exp(-(total + spread) / (2 * r)) / r.sqrt()

    def nngp(self, pair: Pair) -> Tensor:
        _, _, r, level = self._parts(pair)
        return level * torch.sinh(pair.q / r)

    def slope(self, pair: Pair) -> Tensor:
        total, spread, r, level = self._parts(pair)
        q = pair.q
        even = (1 + 2 * total + spread + 8 * q * q) / r / r  # v1 v2 = q^2 + s^2
        odd = 4 * (q / r) * ((3 * total + spread + 2) / r)
        return level * (even * torch.cosh(q / r) + odd * torch.sinh(q / r))

    def mean(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)


class ExpNormalized(Dual):
    """m exp(gamma (cos(theta) + shift)), m = x y: a kernel that no elementwise function is known for.

    Shankar et al. 2020 (arXiv 2003.02237), section 4; its derivative by q is gamma exp(gamma (cos(theta) + shift)).
    """

    tabulates = False
    finite = False

    def __init__(self, gamma: float | Tensor = 1.0, shift: float | Tensor = -1.0):
        self.gamma, self.shift = gamma, shift

    def function(self, x: Tensor) -> Tensor:
        return refuse("ExpNormalized is a kernel without a finite network, so it has no forward, mean or gain")

    def _ratio(self, pair: Pair) -> Tensor:
        gamma, shift = as_column(self.gamma, pair.q), as_column(self.shift, pair.q)
        near, far = pair.squares
        whole = near + far  # 4 m, and sin(theta / 2)^2 = A / 4 m
        return torch.exp(gamma * (1 + shift - 2 * near / torch.where(whole > 0, whole, 1)))

    def nngp(self, pair: Pair) -> Tensor:
        return pair.m * self._ratio(pair)

    def slope(self, pair: Pair) -> Tensor:
        return as_column(self.gamma, pair.q) * self._ratio(pair)

    def mean(self, v: Tensor) -> Tensor:
        return self.function(v)

    def gain(self, pair: Pair) -> Tensor:
        return self.function(pair.q)
