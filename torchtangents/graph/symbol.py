"""The value that a model's forward sees while it is recorded: a tensor with a shape and no data."""

from __future__ import annotations

from typing import Any

import torch

from ..covariance.refusal import refuse
from ..covariance.state import State


class Symbol(torch.Tensor):
    """A tensor of concrete shape, dtype and device whose content is a symbolic covariance.

    Views of one storage share a version, as tensors do: after an in-place change of one, the others are stale.
    """

    state: State
    storage: list[int]
    version: int

    @staticmethod
    def make(state: State, batch: int, dtype: torch.dtype, device: torch.device, storage: list[int] | None = None) -> Symbol:
        """A symbol of shape (batch, *state.shape)."""
        out = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            Symbol, (batch, *state.shape), dtype=dtype, device=device
        )
        out.state, out.storage = state, [0] if storage is None else storage
        out.version = out.storage[0]
        return out

    def current(self) -> State:
        """The state, unless another view was changed in place since."""
        if self.version != self.storage[0]:
            refuse("a view of this value was changed in place; expected out-of-place operations on values that are used again")
        return self.state

    def change(self, state: State) -> Symbol:
        """Replace the content, as an in-place operation does."""
        self.storage[0] += 1
        self.state, self.version = state, self.storage[0]
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.__repr__, torch.Tensor.__format__):
            return "Symbol(a value of a recorded network)"
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        refuse(f"{func} has no rule on a symbolic value")
