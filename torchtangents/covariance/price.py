"""Expectations E f(u) g(v) of two Gaussians as one step of autograd: their derivatives are expectations again.

    d/dq = E f'(u) g'(v),    d/dv1 = E f''(u) g(v) / 2,    d/dv2 = E f(u) g''(v) / 2    (Price 1958, IRE Trans. Inf. Theory 4)

for f and g analytic, so that no node of an integral is kept for a derivative, of any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..native import transformed
from .pair import Pair

Function = Callable[[Tensor], Tensor]
Rule = Callable[[Function, Function, Pair], Tensor]  # E f(u) g(v)


def derivative(function: Function) -> Function:
    """f' by automatic differentiation, elementwise."""

    def slope(x: Tensor) -> Tensor:
        if transformed(x):
            return torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]
        with torch.inference_mode(False), torch.enable_grad():
            inner = x if x.requires_grad else x.detach().clone().requires_grad_()
            value = function(inner)
            if not value.requires_grad:
                return torch.zeros_like(x)
            (out,) = torch.autograd.grad(value.sum(), inner, create_graph=x.requires_grad, allow_unused=True)
        return torch.zeros_like(x) if out is None else out

    return slope


def expected(f: Function, pair: Pair, rule: Rule, nearly: Rule) -> Tensor:
    """E f(u) f(v) by `rule`, its derivatives by `nearly`; by autograd through `rule` where f has parameters that learn."""
    given = (pair.v1, pair.v2, pair.q, pair.distance)
    tensors = [t for t in given if t is not None]
    if not torch.is_grad_enabled() or any(map(transformed, tensors)) or _learns(f, pair.q):
        return rule(f, f, pair)
    if not any(t.requires_grad for t in tensors):
        return rule(f, f, pair)
    return Expected.apply(*given, f, f, rule, nearly)  # type: ignore[return-value]


def _learns(f: Function, like: Tensor) -> bool:
    """Whether the function itself has a parameter to learn."""
    return f(torch.zeros(1, dtype=torch.float64, device=like.device)).requires_grad


class Expected(torch.autograd.Function):
    """E f(u) g(v) by a rule. The distance is another form of q, and has no derivative of its own."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, v1: Tensor, v2: Tensor, q: Tensor, distance: Tensor | None, f: Function, g: Function, rule: Rule, nearly: Rule
    ) -> Tensor:
        ctx.save_for_backward(v1, v2, q, distance)
        ctx.functions, ctx.nearly = (f, g), nearly
        return rule(f, g, Pair(v1, v2, q, distance))

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (f, g), rule, given = ctx.functions, ctx.nearly, ctx.saved_tensors

        def by(left: Function, right: Function, to: Tensor, weight: float) -> Tensor:
            if torch.is_grad_enabled():
                found = Expected.apply(*given, left, right, rule, rule)
            else:
                found = rule(left, right, Pair(*given))
            return (weight * outer * found).sum_to_size(to.shape)  # type: ignore[operator]

        slope = derivative(f), derivative(g)
        v1, v2, q, _ = given
        return (
            by(derivative(slope[0]), g, v1, 0.5) if ctx.needs_input_grad[0] else None,
            by(f, derivative(slope[1]), v2, 0.5) if ctx.needs_input_grad[1] else None,
            by(*slope, q, 1.0) if ctx.needs_input_grad[2] else None,
            *(None,) * 5,
        )
