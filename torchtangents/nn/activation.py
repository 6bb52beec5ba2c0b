"""The base of activations: a scalar function is its dual, which holds the function and its expectations."""

from __future__ import annotations

from torch import Tensor

from ..covariance.dual import Dual
from ..covariance.state import State
from .layer import Layer


class TorchActivation(Layer):
    """An activation whose forward is that of torch's class beside it."""

    @property
    def dual(self) -> Dual:
        """The function and its expectations."""
        raise NotImplementedError(f"{type(self).__name__} has no dual; expected a property dual")

    def propagate(self, k: State) -> State:
        return k.apply(self.dual)


class Activation(TorchActivation):
    """An activation whose forward is its dual's function."""

    def forward(self, input: Tensor) -> Tensor:
        return self.dual.function(input)

    def extra_repr(self) -> str:
        return str(self.scalars) if hasattr(self, "scalars") else ""
