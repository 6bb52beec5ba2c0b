"""Resizing images and sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from ..covariance.resize import resize
from ..covariance.state import State
from .layer import Layer


class Upsample(Layer, torch.nn.Upsample):
    """Positions repeated or interpolated: K' = A K A^T, with A torch's own map along each axis.

    Args:
        size, scale_factor, mode, align_corners, recompute_scale_factor: as in `torch.nn.Upsample`; every mode of torch.

    Raises:
        ValueError: arguments that torch refuses, or a mode for another number of axes.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Upsample(scale_factor=2)(torch.arange(2.).reshape(1, 1, 2))
        tensor([[[0., 0., 1., 1.]]])
        >>> net = torch.nn.Sequential(tt.nn.Conv2d(1, 8, 3), tt.nn.Upsample((5, 4), mode="bilinear"), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(3, 1, 6, 6)).shape
        torch.Size([3, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.Upsample.forward(self, input)

    def propagate(self, k: State) -> State:
        return resize(k, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)
