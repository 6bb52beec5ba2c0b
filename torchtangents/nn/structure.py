"""Layers that only move axes, mask or pass on: Flatten, Identity, Dropout."""

from __future__ import annotations

import torch
from torch import Tensor

from ..covariance.layout import normalize_dim
from ..covariance.state import State
from .layer import Layer


class Flatten(Layer, torch.nn.Flatten):
    """Merge axes. Positions stay known until a linear layer reads them, and takes the mean of K(p, p) over them.

    Args:
        start_dim, end_dim: as in `torch.nn.Flatten`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Flatten()(torch.ones(2, 3, 4)).shape
        torch.Size([2, 12])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.Flatten.forward(self, input)

    def propagate(self, k: State) -> State:
        ndim = len(k.layout) + 1
        return k.flatten(normalize_dim(self.start_dim, ndim) - 1, normalize_dim(self.end_dim, ndim) - 1)


class Identity(Layer, torch.nn.Identity):
    """The input itself; arguments are ignored, as in `torch.nn.Identity`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Identity()(torch.ones(1))
        tensor([1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input

    def propagate(self, k: State) -> State:
        return k


class Dropout(Layer, torch.nn.Dropout):
    """Random masks in training: K' = K / (1 - p) where sample and position are the same, K elsewhere.

    In evaluation mode the identity. With `x2=None` the diagonal shares its masks; two data sets never do.

    Args:
        p, inplace: as in `torch.nn.Dropout`.

    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein 2017 (arXiv 1611.01232).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(2, 8, b_std=0.), tt.nn.Dropout(0.5), tt.nn.Linear(8, 1, b_std=0.))
        >>> tt.nngp(net, torch.ones(1, 2))
        tensor([[2.]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.Dropout.forward(self, input)

    def propagate(self, k: State) -> State:
        return k.dropout(1 - self.p) if self.training else k
