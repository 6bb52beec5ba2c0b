"""Activations made of exponentials, with closed-form kernels."""

from __future__ import annotations

from ..covariance import exponential
from ..covariance.dual import Dual
from .activation import Activation
from .law import Scalar
from .scalars import held


class Exp(Activation):
    """a exp(b x): K' = a^2 exp(b^2 (v1 + v2 + 2q) / 2), E f' f' = b^2 K'.

    Args:
        a, b: scale and rate; floats or 0-dim tensors.

    Raises:
        TypeError, ValueError: an argument that is not a finite scalar.

    Rasmussen and Williams 2006 (Gaussian Processes for Machine Learning, appendix A.2).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Exp(2., 0.5)(torch.zeros(1))
        tensor([2.])
    """

    def __init__(self, a: Scalar = 1.0, b: Scalar = 1.0):
        super().__init__()
        self.scalars = held("Exp", a=a, b=b)

    @property
    def dual(self) -> Dual:
        return exponential.Exp(self.scalars.a, self.scalars.b)


class Gaussian(Activation):
    """a exp(b x^2): K' = a^2 / sqrt((1 - 2 b v1)(1 - 2 b v2) - 4 b^2 q^2).

    Args:
        a, b: height and rate; floats or 0-dim tensors. For b > 0 every variance must stay below 1 / (4 b).

    Raises:
        TypeError, ValueError: an argument that is not a finite scalar; when a kernel is computed, a variance at which
            the second moment does not exist.

    Williams 1996 (NeurIPS).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Gaussian(2.)(torch.zeros(1))
        tensor([2.])
    """

    def __init__(self, a: Scalar = 1.0, b: Scalar = -1.0):
        super().__init__()
        self.scalars = held("Gaussian", a=a, b=b)

    @property
    def dual(self) -> Dual:
        return exponential.Gaussian(self.scalars.a, self.scalars.b)


class Gabor(Activation):
    """exp(-x^2) sin(x): K' = exp(-(S + 4 s^2) / 2R) sinh(q / R) / sqrt R, S = v1 + v2, R = 1 + 2 S + 4 s^2.

    Han et al. 2022 (arXiv 2209.04121).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Gabor()(torch.ones(1))
        tensor([0.3096])
    """

    @property
    def dual(self) -> Dual:
        return exponential.Gabor()


class ExpNormalized(Activation):
    """K' = x y exp(gamma (cos(theta) + shift)), x y the standard deviations: a kernel without a finite network.

    Args:
        gamma, shift: rate and offset of the exponent; floats or 0-dim tensors.

    Raises:
        TypeError, ValueError: an argument that is not a finite scalar.
        UnsupportedError: forward, and whatever needs the function itself (its mean, a trained gain before it).

    Shankar et al. 2020 (arXiv 2003.02237).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(2, 8, b_std=0.), tt.nn.ExpNormalized())
        >>> tt.nngp(net, torch.eye(2))
        tensor([[0.5000, 0.1839],
                [0.1839, 0.5000]])
    """

    def __init__(self, gamma: Scalar = 1.0, shift: Scalar = -1.0):
        super().__init__()
        self.scalars = held("ExpNormalized", gamma=gamma, shift=shift)

    @property
    def dual(self) -> Dual:
        return exponential.ExpNormalized(self.scalars.gamma, self.scalars.shift)
