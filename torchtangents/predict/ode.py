"""Gradient flow by an adaptive solver of ordinary differential equations (torchdiffeq's dopri5), in float64.

df/dt = -K grad L(f); with momentum m (heavy ball), time in units of sqrt(learning_rate),
dq/dt = (m - 1) / sqrt(learning_rate) q - K grad L(f), df/dt = q. Beside f, the solver integrates its coordinates w, f =
f_0 - K w (and q's), so that test points cost one product at the end and no part of the solution.

Chen et al. 2018 (arXiv 1806.07366) for the solver; Dormand and Prince 1980 for the method.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .objective import Gradient
from .path import Path

MAX_STEPS = 1_000_000  # between two of the times asked for


def flow_by_ode(
    k: Tensor, gradient: Gradient, f: Tensor, q: Tensor | None, times: Tensor, friction: float, rtol: float, atol: float
) -> Path:
    """Outputs at `times` (T,) >= 0 in any order, in the solver's units, from f (R, C) and q (R, C), None without momentum.

    k is (R, R), `gradient` maps rows to rows, `friction` is (1 - m) / sqrt(learning_rate).
    """

    def rate(_: Tensor, now: Tensor) -> Tensor:
        push = gradient(now[0])
        pull = k @ push
        if q is None:
            return torch.stack([-pull, push])
        q_now, impulse = now[1], now[3]
        return torch.stack([q_now, -friction * q_now - pull, impulse, push - friction * impulse])

    zero = torch.zeros_like(f)
    start = torch.stack([f, zero] if q is None else [f, q, zero, zero])  # (2 or 4, R, C)
    path = _solve(rate, start, times, rtol, atol)  # (T, 2 or 4, R, C)
    if q is None:
        return Path(path[:, 0], -path[:, 1])
    carry = -torch.expm1(-friction * times) / friction
    return Path(path[:, 0], -path[:, 2], path[:, 1], -path[:, 3], carry, torch.exp(-friction * times))


def _solve(rate: Callable[[Tensor, Tensor], Tensor], start: Tensor, times: Tensor, rtol: float, atol: float) -> Tensor:
    from torchdiffeq import odeint

    known = times.detach()
    grid, place = torch.unique(torch.cat([known.new_zeros(1), known]), return_inverse=True)  # ascending, without repeats
    if len(grid) == 1:
        return start.expand(len(times), *start.shape)
    if times.requires_grad:
        grid = torch.cat([times.new_zeros(1), times])[[(place == i).nonzero()[0, 0].item() for i in range(len(grid))]]
    try:
        path = odeint(rate, start, grid, rtol=rtol, atol=atol, method="dopri5", options={"max_num_steps": MAX_STEPS})
    except AssertionError as error:
        raise ArithmeticError(
            f"the flow's solver stopped ({str(error)[:60]}): the loss is too steep or rough for rtol={rtol:g}, atol={atol:g}; "
            "lower t or learning_rate, loosen the tolerances, or use method='descent'."
        ) from error
    return path[place[1:]]  # type: ignore[index]
