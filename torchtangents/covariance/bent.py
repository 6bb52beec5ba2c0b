"""Expectations of a min(x, 0) + b max(x, 0) as one step of autograd, whose derivatives are closed forms too.

With level = (a^2 + b^2) / 2, bend = (a - b)^2 / 2 pi, the angle theta, s = x y sin(theta), m = x y, D = v1 + v2 - 2 q:

    K' = slope q + bend s,    slope = level - bend theta,    D' = level D - 2 bend m (sin theta - theta cos theta),
    dK' = slope dq + bend s (dv1 / 2 v1 + dv2 / 2 v2),
    2 s dtheta = dD - (D + v1 - v2) dv1 / 2 v1 - (D + v2 - v1) dv2 / 2 v2,

so that nothing cancels between nearly equal inputs, and what divides by s is 0 where s is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..native import angles, transformed
from .pair import Pair, floored

Number = float | Tensor
_TERMS = {torch.float64: 9, torch.float32: 5}


def expectations(pair: Pair, level: Number, bend: Number, far: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """(nngp, slope, distance), the last where it is asked for."""
    given = (pair.q, pair.distance, pair.v1, pair.v2, level, bend)
    tensors = [t for t in given if isinstance(t, Tensor)]
    if not torch.is_grad_enabled() or not any(t.requires_grad for t in tensors) or any(map(transformed, tensors)):
        return plain(pair, level, bend, far)
    nngp, slope, distance = Bent.apply(*given, far)  # type: ignore[misc]
    return nngp, slope, distance if far else None


def plain(pair: Pair, level: Number, bend: Number, far: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """The same from the angle, step by step."""
    slope = level - bend * pair.theta
    distance = floored(level * pair.squared_distance - 2 * bend * bow(pair)) if far else None
    return slope * pair.q + bend * pair.s, slope, distance


def bow(pair: Pair) -> Tensor:
    """m (sin(theta) - theta cos(theta)) = s - theta q, by its series sum_k (-1)^(k+1) 2k theta^(2k+1) / (2k+1)! near 0."""
    theta = pair.theta
    square, series = theta * theta, torch.zeros_like(theta)
    for k in range(_TERMS.get(theta.dtype, 9), 0, -1):
        series = (-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) + square * series
    return torch.where(theta < 1, pair.m * theta * square * series, pair.s - theta * pair.q)


class Bent(torch.autograd.Function):
    """What `plain` computes; derivatives of derivatives go through its steps."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, q: Tensor, distance: Tensor | None, v1: Tensor, v2: Tensor, level: Number, bend: Number, far: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        pair = Pair(v1, v2, q, distance)
        found = None if distance is None or pair.shape != q.shape else angles(q, distance, v1, v2)
        theta, s, bowed = found or (pair.theta, pair.s, bow(pair))
        slope = level - bend * theta
        nngp = slope * q + bend * s
        away = (level * pair.squared_distance - 2 * bend * bowed).clamp_min(0) if far else None
        ctx.set_materialize_grads(False)
        ctx.far = far
        ctx.numbers = tuple(None if isinstance(c, Tensor) else c for c in (level, bend))
        constants = tuple(c if isinstance(c, Tensor) else None for c in (level, bend))
        ctx.save_for_backward(q, distance, v1, v2, *constants, theta, s, bowed)
        return nngp, slope, q.new_empty(0) if away is None else away

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, by_nngp: Tensor | None, by_slope: Tensor | None, by_distance: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, distance, v1, v2, level, bend, theta, s, bowed = ctx.saved_tensors
        level, bend = (t if n is None else n for t, n in zip((level, bend), ctx.numbers, strict=True))
        by_distance = by_distance if ctx.far else None
        if torch.is_grad_enabled():
            return _again((q, distance, v1, v2, level, bend), ctx.far, (by_nngp, by_slope, by_distance))
        pair = Pair(v1, v2, q, distance)
        slope, zero = level - bend * theta, torch.zeros((), dtype=q.dtype, device=q.device)
        by_q = common = tilt = stretch = level_part = bend_part = zero
        if by_nngp is not None:
            by_q, common = by_nngp * slope, by_nngp * s * bend
            level_part, bend_part = by_nngp * q, by_nngp * (s - theta * q)
        if by_slope is not None:
            tilt = torch.where(s > 0, -0.5 * bend * by_slope / torch.where(s > 0, s, 1), 0)
            stretch = tilt
            level_part, bend_part = level_part + by_slope, bend_part - by_slope * theta
        if by_distance is not None:
            fall = 2 * by_distance * bowed
            tilt = tilt - bend * theta * by_distance
            stretch = level * by_distance + tilt
            common = common - bend * fall
            level_part, bend_part = level_part + by_distance * pair.squared_distance, bend_part - fall
        left = right = common
        if by_slope is not None or by_distance is not None:
            left = common - tilt * (pair.squared_distance + (v1 - v2))
            right = common - tilt * (pair.squared_distance - (v1 - v2))
        by_v1, by_v2 = _over(left, v1), _over(right, v2)
        if distance is None:
            by_q, by_v1, by_v2 = by_q - 2 * stretch, by_v1 + _fitted(stretch, v1), by_v2 + _fitted(stretch, v2)
        return (
            _fitted(by_q, q),
            None if distance is None else _fitted(stretch, distance),
            by_v1,
            by_v2,
            level_part.sum() if isinstance(level, Tensor) else None,
            bend_part.sum() if isinstance(bend, Tensor) else None,
            None,
        )


def _fitted(slope: Tensor, to: Tensor) -> Tensor:
    """A derivative summed or spread to the shape of what it is by."""
    return slope.expand(to.shape) if not slope.ndim else slope.sum_to_size(to.shape)


def _over(slope: Tensor, v: Tensor) -> Tensor:
    """A derivative by log sqrt v, as one by v; 0 where v is."""
    return torch.where(v > 0, _fitted(slope, v) / torch.where(v > 0, 2 * v, 1), 0)


def _again(given: tuple[Any, ...], far: bool, outer: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """The same derivatives, with a graph."""
    q, distance, v1, v2, level, bend = given
    results = plain(Pair(v1, v2, q, distance), level, bend, far)
    chosen = [(r, g) for r, g in zip(results, outer, strict=True) if r is not None and g is not None and r.requires_grad]
    asked = [t for t in given if isinstance(t, Tensor) and t.requires_grad]
    found = iter(torch.autograd.grad([r for r, _ in chosen], asked, [g for _, g in chosen], create_graph=True, allow_unused=True))
    return (*(next(found) if isinstance(t, Tensor) and t.requires_grad else None for t in given), None)
