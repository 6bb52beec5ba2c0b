"""Network inputs: one tensor, or a tuple of forward's arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from .persistence import require_entry

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


def batches(x: Inputs, size: int) -> Iterator[Inputs]:
    """`x` in parts of at most `size` samples, in order; one empty part where there are none."""
    n = count(x)
    if isinstance(x, tuple) and any(not isinstance(part, Tensor) or part.ndim == 0 or len(part) != n for part in x):
        raise ValueError(f"x_test: expected tensors of {n} samples each, to be cut into batches; cut them yourself for `stream`.")
    for i in range(0, max(n, 1), size):
        yield tuple(part[i : i + size] for part in x) if isinstance(x, tuple) else x[i : i + size]


def unwrapped(item: object) -> object:
    """A batch of a DataLoader: the tensor in a list of one, or what it is."""
    if not isinstance(item, list):
        return item
    if len(item) != 1:
        raise TypeError(f"batches: got a list of {len(item)}; expected inputs alone: pass (x for x, _ in loader), or tuples.")
    return item[0]


def pack_inputs(name: str, x: Inputs) -> dict[str, Tensor]:
    """Entries of a state_dict."""
    if not isinstance(x, tuple):
        return {name: x}
    wrong = [type(part).__name__ for part in x if not isinstance(part, Tensor)]
    if wrong:
        raise TypeError(f"{name}: a state_dict holds tensors, and forward's arguments have {wrong[0]}; pass it as a tensor.")
    return {f"{name}.{i}": part for i, part in enumerate(x)}


def unpack_inputs(name: str, state: dict[str, Tensor]) -> Inputs:
    """The inputs that `pack_inputs` was given."""
    if name in state:
        return state[name]
    parts = sum(key.startswith(f"{name}.") for key in state)
    return tuple(require_entry(state, f"{name}.{i}") for i in range(max(parts, 1)))
