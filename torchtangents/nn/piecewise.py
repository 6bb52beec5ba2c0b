"""Activations that are linear, or constant, on both sides of 0."""

from __future__ import annotations

import torch
from torch import Tensor

from ..covariance import kinked
from ..covariance.state import State
from .law import Scalar
from .layer import Layer
from .scalars import held


class ReLU(Layer, torch.nn.ReLU):
    """max(x, 0): K' = (s + (pi - theta) q) / (2 pi), E f' f' = (pi - theta) / (2 pi), with s = x y sin theta.

    Args:
        inplace: as in `torch.nn.ReLU`.

    Cho and Saul 2009 (NeurIPS) and 2011 (arXiv 1112.3712).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), tt.nn.ReLU(), tt.nn.Linear(8, 1, b_std=0.))
        >>> tt.nngp(net, torch.ones(1, 1))
        tensor([[0.5000]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ReLU.forward(self, input)

    def propagate(self, k: State) -> State:
        return k.apply(kinked.ABReLU(0.0, 1.0))


class LeakyReLU(Layer, torch.nn.LeakyReLU):
    """max(x, 0) + negative_slope min(x, 0): `ABReLU` with a = negative_slope and b = 1.

    Args:
        negative_slope, inplace: as in `torch.nn.LeakyReLU`.

    Tsuchida, Roosta and Gallagher 2018 (arXiv 1711.09090).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.LeakyReLU(0.5)(torch.tensor([-2.]))
        tensor([-1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.LeakyReLU.forward(self, input)

    def propagate(self, k: State) -> State:
        return k.apply(kinked.ABReLU(self.negative_slope, 1.0))


class Abs(Layer):
    """The absolute value |x|: K' = 2 / pi (s + (pi / 2 - theta) q), E f' f' = 1 - 2 theta / pi, with s = x y sin theta.

    Tsuchida, Roosta and Gallagher 2018 (arXiv 1711.09090).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Abs()(torch.tensor([-2.]))
        tensor([2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.abs()

    def propagate(self, k: State) -> State:
        return k.apply(kinked.ABReLU(-1.0, 1.0))


class ABReLU(Layer):
    """a min(x, 0) + b max(x, 0).

    K' = (a - b)^2 / (2 pi) (s - theta q) + (a^2 + b^2) / 2 q,  E f' f' = (a^2 + b^2) / 2 - (a - b)^2 theta / (2 pi), with
    theta the angle of both, x and y their standard deviations, and s = x y sin theta.

    Args:
        a: the slope below 0; float or 0-dim tensor.
        b: the slope above 0; float or 0-dim tensor.

    Raises:
        TypeError, ValueError: a slope that is not a finite scalar.

    Cho and Saul 2009 (NeurIPS) and 2011 (arXiv 1112.3712); Tsuchida, Roosta and Gallagher 2018 (arXiv 1711.09090).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ABReLU(2., 3.)(torch.tensor([-1., 1.]))
        tensor([-2.,  3.])
    """

    def __init__(self, a: Scalar, b: Scalar):
        super().__init__()
        self.scalars = held("ABReLU", a=a, b=b)

    @property
    def dual(self) -> kinked.ABReLU:
        """The function and its expectations."""
        return kinked.ABReLU(self.scalars.a, self.scalars.b)

    def forward(self, input: Tensor) -> Tensor:
        return self.dual.function(input)

    def propagate(self, k: State) -> State:
        return k.apply(self.dual)

    def extra_repr(self) -> str:
        return str(self.scalars)


class Sign(Layer):
    """sign(x): K' = 1 - 2 theta / pi. Its derivative is 0, so nothing below it trains.

    Cho and Saul 2009 (NeurIPS), order 0.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Sign()(torch.tensor([-2., 3.]))
        tensor([-1.,  1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.sign()

    def propagate(self, k: State) -> State:
        return k.apply(kinked.Sign())
