"""Functions of an eigenvalue a under heavy-ball momentum from rest, on the loss 1/2 mean((f - y)^2) (Polyak 1964).

A mode of f - y obeys p'' + friction p' + x p = 0 with x = a / n, p(0) = 1, p'(0) = 0. With its roots r1, r2 and time u,
p' = -x S, S = (e^{r1 u} - e^{r2 u}) / (r1 - r2), and 1 - p = a G, G = (phi(r1) - phi(r2)) / (r1 - r2) / n,
phi(r) = (e^{ru} - 1) / r.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NEAR = 1e-5  # of the scale on which a function varies: balances rounding, eps / NEAR, and curvature, NEAR^2


class SwingGain:
    """G, by which weights grow; 0 at a = 0."""

    def __init__(self, friction: float, size: int):
        self.friction, self.size = friction, size

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a > 0, self._raw(a, s), 0.0)

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a > 0, self._velocity(a, s), 0.0)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        """By a symmetric quotient, over no less than `NEAR` of the scale on which the function varies."""
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        middle = (a + b) / 2
        pace = torch.maximum((self.friction**2 / 4 - middle / self.size).abs().sqrt(), 1 / s.clamp(min=1e-300))
        half = torch.maximum((a - b).abs() / 2, NEAR * self.size * pace / s.clamp(min=1e-300))
        both = (self._raw(middle + half, s) - self._raw(middle - half, s)) / (2 * half)
        one = self._raw(high, s) / torch.where(high > 0, high, 1.0)  # the other mode does not move
        return torch.where(s > 0, torch.where(low > 0, both, torch.where(high > 0, one, 0.0)), 0.0)

    def _raw(self, a: Tensor, s: Tensor) -> Tensor:
        x, z = a / self.size, self.friction
        _, slow, root, over = self._roots(a)
        swing = self._velocity(a, s) * self.size
        position = torch.where(
            over, (torch.exp(slow * s) + torch.exp((slow - 2 * root) * s)) / 2, torch.exp(-z * s / 2) * torch.cos(root * s)
        )
        plain = (1 - position - z / 2 * swing) / torch.where(x == 0, 1.0, x)
        apart = over & (2 * root * s > 1e-3)
        width = torch.where(apart, 2 * root, 1.0)
        quotient = (_phi(slow, s) - _phi(slow - 2 * root, s)) / width
        early = ((x * s * s).abs() < 1e-3) & (z * s < 0.1)
        return torch.where(early, _series(x, z, s), torch.where(apart, quotient, plain)) / self.size

    def _velocity(self, a: Tensor, s: Tensor) -> Tensor:
        """S / n."""
        _, slow, root, over = self._roots(a)
        width = 2 * root
        apart = torch.where(width > 0, -torch.expm1(-width * s) / torch.where(width > 0, width, 1.0), s)
        turning = torch.exp(-self.friction * s / 2) * s * torch.sinc(root * s / math.pi)
        return torch.where(over, torch.exp(slow * s) * apart, turning) / self.size

    def _roots(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, the slow root, half the distance of both, and whether they are real."""
        x = a / self.size
        square = self.friction**2 / 4 - x
        root = square.abs().sqrt()
        return x, -x / (self.friction / 2 + root), root, square >= 0


class SwingVelocity(SwingGain):
    """S / n, by which momentum moves; 0 at a = 0."""

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        position = 1 - a * SwingGain._raw(self, a, s)
        return torch.where(a > 0, position / self.size - self.friction * self._velocity(a, s), 0.0)

    def _raw(self, a: Tensor, s: Tensor) -> Tensor:
        return self._velocity(a, s)


class TimesEigenvalue:
    """a f(a) for another function f."""

    def __init__(self, function: SwingGain):
        self.function = function

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return a * self.function.value(a, s)

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        return a * self.function.rate(a, s)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return torch.maximum(a, b) * self.function.difference(a, b, s) + self.function.value(torch.minimum(a, b), s)


def _phi(r: Tensor, s: Tensor) -> Tensor:
    return torch.where(r == 0, s, torch.expm1(r * s) / torch.where(r == 0, 1.0, r))


def _series(x: Tensor, friction: float, s: Tensor) -> Tensor:
    """n G for small times: the sum of s^{k+2} / (k+2)! h_k, h_k = -friction h_{k-1} - x h_{k-2}."""
    before, h, power = torch.zeros_like(x * s), torch.ones_like(x * s), s * s / 2
    total = power * h
    for k in range(1, 8):
        before, h = h, -friction * h - x * before
        power = power * s / (k + 2)
        total = total + power * h
    return total
