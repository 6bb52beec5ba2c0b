"""Gradient descent, step by step, for any loss, with heavy-ball momentum.

q <- m q - learning_rate K grad L(f), f <- f + q (Polyak 1964); t counts steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .objective import Gradient
from .path import Path


def descend(
    k: Tensor, gradient: Gradient, f: Tensor, q: Tensor | None, times: Tensor, learning_rate: float, momentum: float
) -> Path:
    """Outputs after `times` (T,) whole steps, in any order, from f (R, C) and q (R, C), None without momentum."""
    steps = [int(t) for t in times.tolist()]
    wanted, kept = set(steps), {}
    weights = impulse = torch.zeros_like(f)
    velocity = torch.zeros_like(f) if q is None else q
    for step in range(max(steps) + 1):
        if step in wanted:
            kept[step] = f, weights, velocity, impulse
        if step < max(steps):
            push = learning_rate * gradient(f)
            impulse = momentum * impulse - push
            velocity = momentum * velocity - k @ push
            weights, f = weights + impulse, f + velocity
    fs, ws, qs, impulses = (torch.stack([kept[step][i] for step in steps]) for i in range(4))
    if q is None:
        return Path(fs, ws)
    decayed = momentum**times
    return Path(fs, ws, qs, impulses, momentum * (1 - decayed) / (1 - momentum), decayed)
