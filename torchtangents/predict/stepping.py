"""Functions of an eigenvalue after t steps of gradient descent: a mode shrinks by x = 1 - step a each.

Each class has the value, the derivative in t (there is none), and the divided difference (f(a) - f(b)) / (a - b).
"""

from __future__ import annotations

import torch
from torch import Tensor


class StepDecay:
    """x^t."""

    def __init__(self, step: float):
        self.step = step

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return (1 - self.step * a) ** s

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        raise NotImplementedError("numbers of steps have no gradient")

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return -self.step * self._quotient(a, b, s)

    def _quotient(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        """(x^t - z^t) / (x - z) for x, z of a, b, without cancellation where they are close."""
        x, z = 1 - self.step * a, 1 - self.step * b
        far = (x**s - z**s) / torch.where(x * z < 0, x - z, 1.0)
        large = torch.maximum(x.abs(), z.abs())
        gap = (self.step * (a - b).abs() / torch.where(large > 0, large, 1.0)).clamp(max=1)  # 1 - |small| / |large|
        terms = torch.where(gap > 0, -torch.expm1(s * torch.log1p(-gap)) / torch.where(gap > 0, gap, 1.0), s)
        sign = torch.where(x + z < 0, 1 - 2 * ((s - 1) % 2), 1.0)
        near = sign * large ** (s - 1).clamp(min=0) * terms
        return torch.where(s > 0, torch.where(x * z < 0, far, near), 0.0)


class StepGrowth(StepDecay):
    """1 - x^t, exact for a near 0."""

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        slow = self.step * a < 0.5
        exact = -torch.expm1(s * torch.log1p(torch.where(slow, -self.step * a, 0.0)))
        return torch.where(slow, exact, 1 - (1 - self.step * a) ** s)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return self.step * self._quotient(a, b, s)


class StepGain(StepGrowth):
    """(1 - x^t) / a, and 0 at a = 0."""

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a > 0, super().value(a, s) / torch.where(a > 0, a, 1.0), 0.0)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        top = torch.where(high > 0, high, 1.0)
        exact = (super().difference(a, b, s) - self.value(low, s)) / top
        c2 = s * (s - 1) / 2  # binomials of s, in g(a) = step (s - c2 step a + c3 (step a)^2 - ...)
        c3, u, v = c2 * (s - 2) / 3, self.step * a, self.step * b
        series = self.step**2 * (-c2 + c3 * (u + v) - c3 * (s - 3) / 4 * (u * u + u * v + v * v))
        both = torch.where(self.step * high * s < 1e-4, series, exact)
        one = self.value(high, s) / top  # the other mode does not move
        return torch.where(low > 0, both, torch.where(high > 0, one, 0.0))
