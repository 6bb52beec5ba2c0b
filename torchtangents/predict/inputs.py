"""Network inputs: one tensor, or a tuple of forward's arguments."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Inputs: TypeAlias = "Tensor | tuple[Tensor, ...]"


def require_inputs(name: str, x: object) -> Inputs:
    """`x` if it is a tensor with a batch axis, or a tuple of which the first is one."""
    first = x[0] if isinstance(x, tuple) and x else x
    if not isinstance(first, Tensor):
        raise TypeError(f"{name}: expected a tensor or a tuple of tensors, got {type(x).__name__}; use torch.as_tensor.")
    if first.ndim == 0:
        raise ValueError(f"{name}: expected inputs (N, ...), got a 0-dim tensor; add a batch axis with {name}[None].")
    return x  # type: ignore[return-value]


def count(x: Inputs) -> int:
    """Number of samples."""
    return len(x[0] if isinstance(x, tuple) else x)


def own(x: Inputs) -> Inputs:
    """A copy that later changes in place do not reach; differentiable."""
    if isinstance(x, tuple):
        return tuple(part.clone() if isinstance(part, Tensor) else part for part in x)
    return x.clone()


def state(x: Inputs) -> tuple[object, ...] | None:
    """Changes when a tensor of `x` is changed in place, or gradients are switched; None: it cannot be followed."""
    parts = [part for part in (x if isinstance(x, tuple) else (x,)) if isinstance(part, Tensor)]
    if any(part.is_inference() for part in parts):
        return None
    return (*(part._version for part in parts), torch.is_grad_enabled())


def same(x: Inputs, other: Inputs | None) -> bool:
    """Whether both are made of the very same tensors."""
    if other is None:
        return False
    pairs = (x if isinstance(x, tuple) else (x,)), (other if isinstance(other, tuple) else (other,))
    return len(pairs[0]) == len(pairs[1]) and all(a is b for a, b in zip(*pairs, strict=True))
