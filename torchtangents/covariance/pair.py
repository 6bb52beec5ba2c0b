"""Angles and lengths of pairs of Gaussians in a form that neither cancels nor overflows.

With x = sqrt v1, y = sqrt v2 and the distance D = E(u - v)^2 = d^2,

    A = (d - |x - y|)(d + |x - y|) = 2 (x y - q),    B = (x + y - d)(x + y + d) = 2 (x y + q),
    theta = 2 atan2(sqrt A, sqrt B),                 s = sqrt(A B) / 2 = x y sin(theta).

No product of two variances is formed. Square roots have a finite (zero) gradient at 0, which at equal inputs would hide that
A depends on D: the derivatives of A and B are those of D - (x - y)^2 and (x + y)^2 - D, of any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..native import transformed

_NOISE = 16  # roundings that separate d from |x - y| for parallel inputs, after tens of layers


def safe_sqrt(x: Tensor) -> Tensor:
    """sqrt(max(x, 0)) with the gradient 0 instead of infinity where x <= 0."""
    if not x.requires_grad and not transformed(x):
        return x.clamp_min(0).sqrt()
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)


def floored(x: Tensor) -> Tensor:
    """max(x, 0) with the gradient 1 at 0, which `clamp_min` has before torch 2.14 and not from there on."""
    if not x.requires_grad and not transformed(x):
        return x.clamp_min(0)
    return torch.where(x < 0, 0, x)


def as_column(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A scalar parameter that takes part in arithmetic with `like` without promoting it."""
    return value.to(like) if isinstance(value, Tensor) else value


def with_derivatives_of(smooth: Tensor, value: Tensor) -> Tensor:
    """`value`, with the derivatives of `smooth`, which equals it but for rounding."""
    return value.detach() + (smooth - smooth.detach())


@dataclass(frozen=True)
class Pair:
    """Two centred Gaussians: variances v1, v2 (they broadcast), covariance q, and D if it is carried."""

    v1: Tensor
    v2: Tensor
    q: Tensor
    distance: Tensor | None = None

    @classmethod
    def equal(cls, v: Tensor) -> Pair:
        """A Gaussian with itself."""
        return cls(v, v, v, torch.zeros_like(v))

    def to(self, dtype: torch.dtype) -> Pair:
        """The same pair in another precision."""
        d = self.distance
        return Pair(self.v1.to(dtype), self.v2.to(dtype), self.q.to(dtype), None if d is None else d.to(dtype))

    @cached_property
    def x(self) -> Tensor:
        """sqrt v1."""
        return safe_sqrt(self.v1)

    @cached_property
    def y(self) -> Tensor:
        """sqrt v2."""
        return safe_sqrt(self.v2)

    @cached_property
    def m(self) -> Tensor:
        """x y, the largest covariance possible."""
        return self.x * self.y

    @cached_property
    def squared_distance(self) -> Tensor:
        """D, from the covariance where it is not carried."""
        return self.v1 + self.v2 - 2 * self.q if self.distance is None else self.distance

    @property
    def tracked(self) -> bool:
        """Whether derivatives may be asked for."""
        parts = (t for t in (self.v1, self.v2, self.q, self.distance) if t is not None)
        return any(transformed(t) or (t.requires_grad and torch.is_grad_enabled()) for t in parts)

    @cached_property
    def squares(self) -> tuple[Tensor, Tensor]:
        """(A, B)."""
        d = safe_sqrt(self.squared_distance)
        gap, total = (self.x - self.y).abs(), self.x + self.y
        near = floored(d - gap) * (d + gap)
        far = floored(total - d) * (total + d)
        noise = _NOISE * torch.finfo(near.dtype).eps * gap * total
        near = torch.where(near > noise, near, 0)  # parallel inputs of different lengths are parallel, not at sqrt(eps)
        near = torch.where(self.m > 0, near, 0)
        if self.distance is not None:  # obtuse pairs keep their accuracy in q, not in D
            near = torch.where(self.q < 0, 2 * (self.m - self.q), near)
            far = torch.where(self.q < 0, far, 2 * (self.m + self.q))
        if not self.tracked:
            return near, far
        across, along = self.squared_distance - (self.x - self.y).square(), total.square() - self.squared_distance
        return with_derivatives_of(across, near), with_derivatives_of(along, far)

    @cached_property
    def roots(self) -> tuple[Tensor, Tensor]:
        """(sqrt A, sqrt B)."""
        near, far = self.squares
        return safe_sqrt(near), safe_sqrt(far)

    @cached_property
    def theta(self) -> Tensor:
        """The angle between the two, 0 where one vanishes."""
        a, b = self.roots
        return 2 * torch.atan2(a, torch.where((a == 0) & (b == 0), 1, b))

    @cached_property
    def s(self) -> Tensor:
        """x y sin(theta)."""
        a, b = self.roots
        return a * b / 2

    @property
    def shape(self) -> torch.Size:
        """The shape that the parts broadcast to."""
        return torch.broadcast_shapes(self.v1.shape, self.v2.shape, self.q.shape)

    def root(self, square: Tensor, scale: float | Tensor) -> Tensor:
        """sqrt(square + scale^2 s^2) for square > 0, differentiable where s = 0 too."""
        base = square.sqrt()
        near, far = (scale / 2 * part / base for part in self.squares)
        return base * (1 + near * far).sqrt()
