"""Normalisation layers."""

from __future__ import annotations

import torch
from torch import Tensor

from ..covariance.refusal import placed
from ..covariance.state import State
from .layer import Layer


class LayerNorm(Layer, torch.nn.LayerNorm):
    """Normalise over the last axes: with m the mean, v the variance and r = (v + eps)^(-1/2),

    K' = r1 r2 (K - m1 m2). The NTK counts the trained gain (E[u f'(u) v f'(v)] through a following activation f,
    K' into a linear layer) and bias (1); where `normalized_shape` includes positions, both at equal positions only.

    Args:
        normalized_shape, eps, elementwise_affine, bias: as in `torch.nn.LayerNorm`; must include the channel axis.

    Raises:
        UnsupportedError: `normalized_shape` holds positions only.
        ValueError: it does not match the value's shape.

    Ba, Kiros and Hinton 2016 (arXiv 1607.06450).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 16, b_std=0.), tt.nn.LayerNorm(16, eps=0.))
        >>> tt.nngp(net, torch.randn(1, 3))
        tensor([[1.]])
    """

    channel_dim = -1

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.LayerNorm.forward(self, input)

    def propagate(self, k: State) -> State:
        dims = len(self.normalized_shape)
        if k.shape[-dims:] != tuple(self.normalized_shape):
            raise ValueError(placed(f"expected a value that ends in {tuple(self.normalized_shape)}, got {(-1, *k.shape)}"))
        return k.normalize(dims, self.eps, gain=self.weight is not None, bias=self.bias is not None)
