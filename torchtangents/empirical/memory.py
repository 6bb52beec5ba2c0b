"""How many samples of a network to differentiate at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..engine.memory import budget
from .functional import Function


def activation_bytes(function: Function) -> int:
    """Bytes that the derivative of one sample's outputs keeps from the forward pass."""
    own = {t.untyped_storage().data_ptr() for t in (*function.trained.values(), *function.fixed.values())}
    seen: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        try:
            place = t.untyped_storage().data_ptr()
        except RuntimeError:  # a tensor without storage, in a model that differentiates itself
            place = -len(seen) - 1
        if place not in own:
            seen[place] = max(seen.get(place, 0), t.nbytes)  # a row of the inputs lies in the storage of all
        return t

    leaves = {k: p.clone().requires_grad_() for k, p in function.trained.items()}
    own |= {t.untyped_storage().data_ptr() for t in leaves.values()}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        outputs = function(leaves, function.data.rows(slice(0, 1)), 0)
    return sum(seen.values()) + sum(t.nbytes for t in pytree.tree_leaves(outputs))


def samples_at_once(function: Function, copies: int = 2, gradients: int = 0) -> int:
    """Samples whose activations, `copies` times, and gradients, `gradients` for each sample, fit in the memory of a tile."""
    parameters = sum(p.nbytes for p in function.trained.values())
    each = copies * activation_bytes(function) + gradients * parameters
    return max(1, budget(function.device) // max(each, 1))


def vectors_at_once(function: Function) -> int:
    """Vectors as large as the trained parameters that fit in the memory of a tile, with their copies."""
    return max(1, budget(function.device) // max(1, 2 * sum(p.nbytes for p in function.trained.values())))
