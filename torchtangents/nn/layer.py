"""The base class of every layer that carries a kernel rule."""

from __future__ import annotations

from typing import Any

import torch

from ..covariance.active import recording
from ..covariance.state import State


class Layer(torch.nn.Module):
    """A module with a finite `forward` and an infinite-width rule `propagate`.

    `forward` is what the finite network computes; `propagate` takes the symbolic covariance of the input and
    returns that of the output by calling the verbs of `tt.State`. Nothing else is needed: which entries a rule
    reads, and how it runs, belong to the verbs.

    Attributes:
        channel_dim: where channels are if this is the first layer to meet data: 1 (images) or -1 (features);
            None if the layer is deterministic, and then simply runs on data.
        takes_indices: whether the layer reads integers, and `propagate` the tensor of them in place of a State.

    Raises:
        NotImplementedError: in `propagate`, unless a subclass defines it.

    Example:
        >>> import torch, torchtangents as tt
        >>> class Halve(tt.Layer):
        ...     def forward(self, x):
        ...         return x / 2
        ...     def propagate(self, k):
        ...         return k * 0.5
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 8, b_std=0.), Halve())
        >>> tt.nngp(net, torch.ones(1, 3))
        tensor([[0.2500]])
    """

    channel_dim: int | None = None
    takes_indices = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return super().__call__(*args, **kwargs)
        recorder = recording()
        if recorder is None:
            return super().__call__(*args, **kwargs)
        return recorder.leaf(self, args, kwargs)

    def propagate(self, k: State) -> State:
        """The covariance of the output, from that of the input."""
        raise NotImplementedError(f"{type(self).__name__} has no rule; expected a method propagate(self, k)")
