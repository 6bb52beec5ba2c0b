"""Normalisation layers."""

from __future__ import annotations

import torch
from torch import Tensor

from ..covariance.active import recording
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .layer import Layer


def check_shape(k: State, shape: tuple[int, ...]) -> int:
    """The number of axes that are normalised."""
    if k.shape[-len(shape) :] != shape:
        raise ValueError(placed(f"expected a value that ends in {shape}, got {(-1, *k.shape)}"))
    return len(shape)


def group_norm(k: State, groups: int, eps: float, affine: bool) -> State:
    """Normalise over channels (on axis 1) and all positions; gain and bias are one a channel, shared by positions."""
    if groups != 1:
        refuse(
            f"group normalisation with {groups} groups: with few channels a group its statistics stay random, and no rule is "
            "known. Expected one group, GroupNorm(1, channels)"
        )
    if -1 not in k.layout[0]:
        refuse(f"group normalisation expects channels on axis 1 of {(-1, *k.shape)}, got positions")
    return k.normalize(len(k.layout), eps, gain=affine, bias=affine, trained=0)


class LayerNorm(Layer, torch.nn.LayerNorm):
    """Normalise over the last axes: subtract their mean, divide by their standard deviation.

    K' = r1 r2 (K - m1 m2), with m the mean, v the variance and r = (v + eps)^(-1/2). The NTK counts the trained gain
    (E[u f'(u) v f'(v)] through a following activation f, K' into a linear layer) and bias (1); where `normalized_shape`
    includes positions, both at equal positions only.

    Args:
        normalized_shape: the last axes; the channel axis must be among them.
        eps, elementwise_affine, bias, device, dtype: as in `torch.nn.LayerNorm`.

    Raises:
        UnsupportedError: `normalized_shape` holds positions only.
        ValueError: it does not match the value's shape.

    Ba, Kiros and Hinton 2016 (arXiv 1607.06450).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 16, b_std=0.), tt.nn.LayerNorm(16, eps=0.))
        >>> tt.nngp(net, torch.ones(1, 3))
        tensor([[1.]])
    """

    channel_dim = -1

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.LayerNorm.forward(self, input)

    def propagate(self, k: State) -> State:
        dims = check_shape(k, tuple(self.normalized_shape))
        return k.normalize(dims, self.eps, gain=self.weight is not None, bias=self.bias is not None)


class RMSNorm(Layer, torch.nn.RMSNorm):
    """Divide by the root mean square over the last axes, without centring.

    K' = r1 r2 K, with v = E x^2 there and r = (v + eps)^(-1/2). The NTK counts the trained gain as in `LayerNorm`; there is no
    bias.

    Args:
        normalized_shape: the last axes; the channel axis must be among them.
        eps, elementwise_affine, device, dtype: as in `torch.nn.RMSNorm`; eps=None is the machine epsilon of the data.

    Raises:
        UnsupportedError: `normalized_shape` holds positions only.
        ValueError: it does not match the value's shape.

    Zhang and Sennrich 2019 (arXiv 1910.07467).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 16, b_std=0.), tt.nn.RMSNorm(16, eps=0.))
        >>> tt.nngp(net, torch.ones(1, 3))
        tensor([[1.]])
    """

    channel_dim = -1

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.RMSNorm.forward(self, x)

    def propagate(self, k: State) -> State:
        active = recording()
        dtype = torch.get_default_dtype() if active is None else active.dtype
        eps = torch.finfo(dtype).eps if self.eps is None else self.eps
        return k.normalize(check_shape(k, self.normalized_shape), eps, center=False, gain=self.weight is not None, bias=False)


class GroupNorm(Layer, torch.nn.GroupNorm):
    """Normalise over all channels and positions (one group): K' = r1 r2 (K - m1 m2), as `LayerNorm` over everything.

    The trained gain and bias are one a channel, shared by positions, so the NTK counts them at all pairs of positions.

    Args:
        num_groups: 1; more have no rule.
        num_channels, eps, affine, bias, device, dtype: as in `torch.nn.GroupNorm`.

    Raises:
        UnsupportedError: more than one group, or positions on axis 1.
        ValueError: another number of channels.

    Wu and He 2018 (arXiv 1803.08494).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv1d(2, 16, 3, b_std=0.), tt.nn.GroupNorm(1, 16), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(3, 2, 6)).shape
        torch.Size([3, 3])
    """

    channel_dim = 1

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.GroupNorm.forward(self, input)

    def propagate(self, k: State) -> State:
        if k.shape[0] != self.num_channels:
            raise ValueError(placed(f"expected {self.num_channels} channels on axis 1, got shape {(-1, *k.shape)}"))
        return group_norm(k, self.num_groups, self.eps, self.weight is not None)
