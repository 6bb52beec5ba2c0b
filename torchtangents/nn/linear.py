"""The fully connected layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.state import State
from .law import Law, RandomLayer, Scalar
from .layer import Layer


class Linear(RandomLayer, Layer, torch.nn.Linear):
    """A fully connected layer on the last axis.

    K' = w_std^2 K + b_std^2;   Theta' = K' + w_std^2 Theta  ("ntk" parametrisation), or
    Theta' = in_features K + 1 + w_std^2 Theta  ("standard"). Positions that were flattened into the last axis
    are averaged over equal positions.

    Args:
        in_features, out_features, bias, device, dtype: as in `torch.nn.Linear`.
        w_std: standard deviation of the weights, times sqrt(in_features); float or 0-dim tensor.
        b_std: standard deviation of the biases; float or 0-dim tensor.
        parameterization: "ntk" or "standard".

    Raises:
        ValueError: a negative or non-finite standard deviation, an unknown parametrisation.

    Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572); Lee et al. 2018 (arXiv 1711.00165).

    Example:
        >>> import torch, torchtangents as tt
        >>> layer = tt.nn.Linear(4, 16, w_std=2., b_std=0.)
        >>> tt.nngp(layer, torch.ones(1, 4))
        tensor([[4.]])
    """

    channel_dim = -1

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        law = Law(w_std, b_std, parameterization, "Linear")
        object.__setattr__(self, "law", law)
        super().__init__(in_features, out_features, bias, device, dtype)

    def reset_parameters(self) -> None:
        """Draw the weights and biases from the law."""
        self.law.draw(self.weight, self.bias, self.in_features)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, *self.law.effective(self.weight, self.bias, self.in_features))

    def propagate(self, k: State) -> State:
        return self._rule(k, self.in_features)

    def _rule(self, k: State, features: int) -> State:
        return self.law.affine(k.features(features), features, self.out_features, self.bias is not None)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.law.describe()}"
