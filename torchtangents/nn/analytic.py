"""Smooth activations with closed-form kernels."""

from __future__ import annotations

import math

import torch

from ..covariance import smooth
from ..covariance.dual import Dual
from ..covariance.named import gelu_tanh
from .activation import Activation, TorchActivation
from .law import Scalar, plain
from .scalars import held


class Erf(Activation):
    """a erf(b x) + c: K' = (2 a^2 / pi) asin(2 b^2 q / sqrt((1 + 2 b^2 v1)(1 + 2 b^2 v2))) + c^2.

    Args:
        a, b, c: scale, rate and offset; floats or 0-dim tensors.

    Raises:
        TypeError, ValueError: an argument that is not a finite scalar.

    Williams 1996 (NeurIPS).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Erf()(torch.zeros(1))
        tensor([0.])
    """

    def __init__(self, a: Scalar = 1.0, b: Scalar = 1.0, c: Scalar = 0.0):
        super().__init__()
        self.scalars = held(type(self).__name__, a=a, b=b, c=c)

    @property
    def dual(self) -> Dual:
        return smooth.Erf(self.scalars.a, self.scalars.b, self.scalars.c)


class SigmoidLike(Activation):
    """(erf(x / 2.4020563531719796) + 1) / 2, close to the sigmoid, with the closed form of `Erf`.

    Williams 1996 (NeurIPS).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SigmoidLike()(torch.zeros(1))
        tensor([0.5000])
    """

    @property
    def dual(self) -> Dual:
        return smooth.Erf(0.5, 1 / 2.4020563531719796, 0.5)


class GELU(TorchActivation, torch.nn.GELU):
    """x Phi(x), exact (closed form) or by tanh (quadrature).

    Args:
        approximate: "none" or "tanh", as in `torch.nn.GELU`.

    Tsuchida, Pearce, van der Heide, Roosta and Gallagher 2021 (arXiv 2002.08517).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.GELU()(torch.zeros(1))
        tensor([0.])
    """

    @property
    def dual(self) -> Dual:
        return smooth.GELU() if self.approximate == "none" else gelu_tanh()


class Sin(Erf):
    """a sin(b x + c): K' = (a^2 / 2)(exp(-b^2 D / 2) - cos(2c) exp(-b^2 (v1 + v2 + 2q) / 2)).

    Args:
        a, b, c: amplitude, frequency and phase; floats or 0-dim tensors.

    Raises:
        TypeError, ValueError: an argument that is not a finite scalar.

    Rahimi and Recht 2007 (NeurIPS); Pearce et al. 2019 (arXiv 1905.06076).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Sin()(torch.zeros(1))
        tensor([0.])
    """

    @property
    def dual(self) -> Dual:
        return smooth.Sin(self.scalars.a, self.scalars.b, self.scalars.c)


class Cos(Erf):
    """a cos(b x + c), as `Sin` with the phase c + pi / 2.

    Args:
        a, b, c: amplitude, frequency and phase; floats or 0-dim tensors.

    Raises:
        TypeError, ValueError: an argument that is not a finite scalar.

    Rahimi and Recht 2007 (NeurIPS); Pearce et al. 2019 (arXiv 1905.06076).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Cos()(torch.zeros(1))
        tensor([1.])
    """

    @property
    def dual(self) -> Dual:
        return smooth.Sin(self.scalars.a, self.scalars.b, self.scalars.c + math.pi / 2)


class RBF(Activation):
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4): K' = exp(-gamma (v1 + v2 - 2q)).

    Args:
        gamma: inverse squared length scale; float or 0-dim tensor, not negative.

    Raises:
        TypeError, ValueError: gamma is not a finite scalar, or negative.

    Rahimi and Recht 2007 (NeurIPS).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.RBF(0.5)(torch.zeros(1)).round(decimals=3)
        tensor([1.])
    """

    def __init__(self, gamma: Scalar = 1.0):
        super().__init__()
        self.scalars = held("RBF", gamma=gamma)
        if plain(gamma) < 0:
            raise ValueError(f"RBF: expected gamma >= 0, got {plain(gamma)}")

    @property
    def dual(self) -> Dual:
        return smooth.RBF(self.scalars.gamma)
