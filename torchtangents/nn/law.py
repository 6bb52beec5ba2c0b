"""The law of a random layer's weights, and what it does to a covariance."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from ..covariance.state import State

Scalar = float | Tensor
Parameterization = Literal["ntk", "standard"]


class Law:
    """w_std, b_std and the parametrisation of one layer; tensors stay differentiable, copies detach them.

    "ntk": weights and biases are N(0, 1) and the layer computes w_std / sqrt(fan_in) W x + b_std b
    (Jacot, Gabriel and Hongler 2018, arXiv 1806.07572). "standard": weights are N(0, w_std^2 / fan_in) and biases
    N(0, b_std^2), trained as they are (Sohl-Dickstein, Novak, Schoenholz and Lee 2020, arXiv 2001.07301).
    """

    def __init__(self, w_std: Scalar, b_std: Scalar, parameterization: str, layer: str, name: str = "w_std"):
        self.w_std = _checked(w_std, name, layer)
        self.b_std = _checked(b_std, "b_std", layer)
        if parameterization not in ("ntk", "standard"):
            raise ValueError(f"{layer}: expected parameterization 'ntk' or 'standard', got {parameterization!r}")
        self.parameterization = parameterization
        self.names = {"w_std": name, "b_std": "b_std"}  # as arguments of the layer

    def draw(self, weight: Tensor, bias: Tensor | None, fan_in: int) -> None:
        """Fill the weights (and biases) from the law."""
        ntk = self.parameterization == "ntk"
        torch.nn.init.normal_(weight, 0.0, 1.0 if ntk else plain(self.w_std) / math.sqrt(max(fan_in, 1)))
        if bias is not None:
            torch.nn.init.normal_(bias, 0.0, 1.0 if ntk else plain(self.b_std))

    def effective(self, weight: Tensor, bias: Tensor | None, fan_in: int) -> tuple[Tensor, Tensor | None]:
        """The weights and biases that the layer multiplies with and adds."""
        if self.parameterization == "standard":
            return weight, bias
        w_std, b_std = (s.to(weight) if isinstance(s, Tensor) else s for s in (self.w_std, self.b_std))
        return weight * (w_std / math.sqrt(fan_in)), None if bias is None else bias * b_std

    def affine(self, k: State, fan_in: int, channels: int, bias: bool, taps: int = 1) -> State:
        """K' = w_std^2 K + b_std^2 and the NTK of this parametrisation; K is the mean over `taps`."""
        w2 = self.w_std * self.w_std
        b2 = self.b_std * self.b_std if bias else 0.0
        if self.parameterization == "ntk":
            return k.affine(w2, b2, w2, b2, channels, taps)
        return k.affine(w2, b2, float(fan_in), float(bias), channels, taps)

    def describe(self) -> str:
        """For a layer's `extra_repr`."""
        w_std, b_std = (plain(s) for s in (self.w_std, self.b_std))
        return f"w_std={w_std:g}, b_std={b_std:g}, parameterization={self.parameterization!r}"

    def __getstate__(self) -> dict[str, Any]:
        return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def plain(value: Scalar) -> float:
    """The number, without its gradient."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _checked(value: Scalar, name: str, layer: str) -> Scalar:
    if isinstance(value, Tensor):
        if value.ndim or not value.is_floating_point():
            raise TypeError(
                f"{layer}: expected {name} as a float or a 0-dim floating tensor, got {value.dtype} of shape {tuple(value.shape)}"
            )
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{layer}: expected {name} as a float or a 0-dim tensor, got {type(value).__name__}")
    number = plain(value)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{layer}: expected a finite {name} >= 0, got {number}")
    return value if isinstance(value, Tensor) else number


class RandomLayer:
    """Shared by the layers with a law: the hyperparameters as attributes."""

    law: Law

    @property
    def w_std(self) -> Scalar:
        """Standard deviation of the weights, times sqrt(fan_in)."""
        return self.law.w_std

    @property
    def b_std(self) -> Scalar:
        """Standard deviation of the biases."""
        return self.law.b_std

    @property
    def parameterization(self) -> str:
        """'ntk' or 'standard'."""
        return self.law.parameterization
