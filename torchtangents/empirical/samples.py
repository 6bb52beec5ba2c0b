"""Inputs of any module: positional and keyword arguments, cut into samples along axis 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..inputs import check_dense, check_finite


class Samples:
    """The arguments of forward for N samples: every tensor has them on axis 0; other values and 0-dim tensors are shared."""

    def __init__(self, x: Any, name: str):
        self.name = name
        args, kwargs = _arguments(x)
        self.leaves, self.spec = pytree.tree_flatten((args, kwargs))
        for leaf in self.leaves:
            if isinstance(leaf, Tensor):
                check_dense(leaf, name)
        self.at = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor) and leaf.ndim]
        if not self.at:
            raise TypeError(
                f"expected {name} as a tensor (N, ..), a tuple of forward's arguments or a dict of its keyword arguments, "
                f"got {type(x).__name__} without a tensor"
            )
        self.count = len(self.leaves[self.at[0]])
        for i in self.at:
            if len(self.leaves[i]) != self.count:
                raise ValueError(
                    f"expected every tensor in {name} with the samples on axis 0, got lengths {self.count} and "
                    f"{len(self.leaves[i])}; expand what the samples share, or bind it in a wrapper module"
                )
        if not self.count:
            raise ValueError(f"expected at least one sample in {name}, got none")
        check_finite(tuple(self.leaves[i] for i in self.at), name)

    @property
    def device(self) -> torch.device:
        """Where the first tensor is."""
        return self.leaves[self.at[0]].device

    def tensors(self, rows: slice) -> tuple[Tensor, ...]:
        """The tensors of some samples, without a gradient."""
        return tuple(self.leaves[i].detach()[rows] for i in self.at)

    def like(self, other: Samples) -> bool:
        """Whether one recording serves both: samples of the same shapes, and the same shared values."""
        if self.spec != other.spec or self.at != other.at:
            return False
        pairs = zip(self.leaves, other.leaves, strict=True)
        return all(a.shape[1:] == b.shape[1:] if i in self.at else a is b for i, (a, b) in enumerate(pairs))

    def call(self, forward: Callable, tensors: tuple[Tensor, ...]) -> Any:
        """Forward on other tensors in the places of these."""
        leaves = list(self.leaves)
        for i, t in zip(self.at, tensors, strict=True):
            leaves[i] = t
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return forward(*args, **kwargs)


def check_alike(first: Samples, second: Samples) -> None:
    """Refuse two sets of inputs of different structure, dtype or device."""
    if first.spec != second.spec or first.at != second.at:
        raise ValueError("expected x1 and x2 with the same arguments, got two structures; pass the same tuple or keys in both")
    for i in first.at:
        a, b = first.leaves[i], second.leaves[i]
        if a.dtype != b.dtype or a.device != b.device:
            raise TypeError(
                f"expected x1 and x2 of one dtype on one device, got {a.dtype} on {a.device} and {b.dtype} on {b.device}"
            )


def _arguments(x: Any) -> tuple[tuple, dict]:
    if isinstance(x, Mapping):
        return (), dict(x)
    return (tuple(x) if isinstance(x, (tuple, list)) else (x,)), {}
