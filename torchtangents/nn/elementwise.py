"""Activations by quadrature: torch's own smooth ones, and any function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.named import by_quadrature
from ..covariance.quadrature import Quadrature
from ..covariance.state import State
from .layer import Layer


class Elementwise(Layer):
    """Any function of each element, its kernel by quadrature to 1e-8 in float64.

    K'(u, v) = E fn(u) fn(v) over the Gaussian pair (u, v).

    Args:
        fn: elementwise and differentiable by autograd, tensor to tensor.
        breakpoints: the arguments where fn is not analytic (kinks and jumps).

    Raises:
        TypeError: fn is not callable.
        ValueError: when a kernel is computed, if the integral does not converge (a missing breakpoint).

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), tt.nn.Elementwise(torch.square))
        >>> tt.nngp(net, torch.ones(1, 1))
        tensor([[3.]])
    """

    def __init__(self, fn: Callable[[Tensor], Tensor], breakpoints: Iterable[float] = ()):
        super().__init__()
        if not callable(fn):
            raise TypeError(f"Elementwise: expected a function of a tensor, got {fn!r}")
        self.fn, self.breakpoints = fn, tuple(breakpoints)

    def forward(self, input: Tensor) -> Tensor:
        return self.fn(input)

    def propagate(self, k: State) -> State:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        return k.apply(Quadrature(self.fn, self.breakpoints, name, kinked=bool(self.breakpoints)))


class Tanh(Layer, torch.nn.Tanh):
    """tanh(x), by quadrature.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Tanh()(torch.zeros(1))
        tensor([0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.tanh(input)

    def propagate(self, k: State) -> State:
        return k.apply(by_quadrature(torch.tanh, (), "Tanh"))


class Sigmoid(Layer, torch.nn.Sigmoid):
    """1 / (1 + exp(-x)), by quadrature.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Sigmoid()(torch.zeros(1))
        tensor([0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.sigmoid(input)

    def propagate(self, k: State) -> State:
        return k.apply(by_quadrature(torch.sigmoid, (), "Sigmoid"))


class SiLU(Layer, torch.nn.SiLU):
    """x / (1 + exp(-x)), by quadrature.

    Args:
        inplace: as in `torch.nn.SiLU`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SiLU()(torch.zeros(1))
        tensor([0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.SiLU.forward(self, input)

    def propagate(self, k: State) -> State:
        return k.apply(by_quadrature(F.silu, (), "SiLU"))


class ELU(Layer, torch.nn.ELU):
    """x for x > 0, alpha (exp(x) - 1) below, by quadrature split at 0.

    Args:
        alpha, inplace: as in `torch.nn.ELU`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ELU()(torch.ones(1))
        tensor([1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ELU.forward(self, input)

    def propagate(self, k: State) -> State:
        return k.apply(by_quadrature(F.elu, (0.0,), "ELU", kinked=self.alpha != 1, alpha=self.alpha))


class Softplus(Layer, torch.nn.Softplus):
    """log(1 + exp(beta x)) / beta, by quadrature.

    Args:
        beta, threshold: as in `torch.nn.Softplus`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Softplus()(torch.zeros(1))
        tensor([0.6931])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.Softplus.forward(self, input)

    def propagate(self, k: State) -> State:
        return k.apply(by_quadrature(F.softplus, (), "Softplus", beta=self.beta, threshold=self.threshold))
