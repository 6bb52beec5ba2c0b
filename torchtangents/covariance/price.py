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
        slope = derivative(f), derivative(g)
        wanted = ((derivative(slope[0]), g, 0.5), (f, derivative(slope[1]), 0.5), (*slope, 1.0))
        results: list[Tensor | None] = []
        for needed, to, (left, right, weight) in zip(ctx.needs_input_grad, given, wanted, strict=False):
            found: Any = None
            if needed and torch.is_grad_enabled():
                found = Expected.apply(*given, left, right, rule, rule)
            elif needed:
                found = rule(left, right, Pair(*given))
            if found is not None and not bool(found.isfinite().all()):
                return _stepwise(f, g, rule, given, ctx.needs_input_grad, outer)
            results.append(None if found is None else (weight * outer * found).sum_to_size(to.shape))
        return (*results, *(None,) * 5)


def _stepwise(f: Function, g: Function, rule: Rule, given: Any, needed: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
    """The same through the nodes of the rule, which takes one derivative of f less: some of torch's overflow far from 0."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        own = given[:3] if graph else [t.detach().requires_grad_(n) for t, n in zip(given[:3], needed, strict=False)]
        asked = [t for t, n in zip(own, needed, strict=False) if n]
        value: Any = rule(f, g, Pair(*own))  # without the distance, so that q carries all of the derivative
        found = iter(torch.autograd.grad(value, asked, outer, create_graph=graph))
    return (*(next(found) if n else None for n in needed[:3]), *(None,) * 5)
