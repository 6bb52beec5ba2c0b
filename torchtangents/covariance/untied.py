"""The derivative by q at equal inputs, which a formula in the angle hides: theta is not differentiable there, q is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..native import transformed
from .pair import Pair, with_derivatives_of


def untied(value: Tensor, pair: Pair, slope: Callable[[Pair], Tensor]) -> Tensor:
    """`value` = F(x, y, theta), even in theta, with dF/dq = `slope` where theta = 0.

    Autograd finds dF/dv with theta held at 0, so q = x y moves along; what is missing is `slope` times d(q - x y).
    """
    tied = pair.q is pair.v1 and pair.q is pair.v2  # a Gaussian with itself, of which q cannot move alone
    if tied or not pair.tracked:
        return value
    equal = ((pair.squares[0] <= 0) & (pair.m > 0)).expand(value.shape)
    if transformed(equal):  # no data may be looked at
        gap = pair.q - pair.m
        return value + torch.where(equal, slope(pair) * (gap - gap.detach()), 0)
    if not bool(equal.any()):
        return value
    v1, v2, q = (t.expand(value.shape)[equal] for t in (pair.v1, pair.v2, pair.q))
    some = Pair(v1, v2, q)
    some = Pair(v1, v2, q, with_derivatives_of(some.squared_distance, (some.x - some.y).square()))
    gap = q - some.m
    missing = (slope(some) * (gap - gap.detach())).to(value.dtype)
    return value + torch.zeros_like(value).masked_scatter(equal, missing)
