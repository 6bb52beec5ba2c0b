"""Piecewise polynomial activations with kinks away from 0, in closed form through Owen's T function (Owen 1956)."""

from __future__ import annotations

import torch

from ..covariance import named
from ..covariance.dual import Dual
from .activation import TorchActivation


class Hardtanh(TorchActivation, torch.nn.Hardtanh):
    """min(max(x, min_val), max_val).

    Args:
        min_val, max_val, inplace: as in `torch.nn.Hardtanh`.

    Owen 1956 (Annals of Mathematical Statistics 27) for the bivariate normal probabilities.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Hardtanh()(torch.tensor([-2., 0.5]))
        tensor([-1.0000,  0.5000])
    """

    @property
    def dual(self) -> Dual:
        return named.clamp(float(self.min_val), float(self.max_val), "Hardtanh")


class ReLU6(TorchActivation, torch.nn.ReLU6):
    """min(max(x, 0), 6).

    Args:
        inplace: as in `torch.nn.ReLU6`.

    Owen 1956 (Annals of Mathematical Statistics 27) for the bivariate normal probabilities.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ReLU6()(torch.tensor([-2., 8.]))
        tensor([0., 6.])
    """

    @property
    def dual(self) -> Dual:
        return named.clamp(0.0, 6.0, "ReLU6")


class Hardswish(TorchActivation, torch.nn.Hardswish):
    """x min(max(x + 3, 0), 6) / 6.

    Args:
        inplace: as in `torch.nn.Hardswish`.

    Owen 1956 (Annals of Mathematical Statistics 27) for the bivariate normal probabilities.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Hardswish()(torch.tensor([-4., 3.]))
        tensor([-0., 3.])
    """

    @property
    def dual(self) -> Dual:
        return named.hardswish()


class Hardsigmoid(TorchActivation, torch.nn.Hardsigmoid):
    """min(max(x / 6 + 1 / 2, 0), 1).

    Args:
        inplace: as in `torch.nn.Hardsigmoid`.

    Owen 1956 (Annals of Mathematical Statistics 27) for the bivariate normal probabilities.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Hardsigmoid()(torch.tensor([-4., 0.]))
        tensor([0.0000, 0.5000])
    """

    @property
    def dual(self) -> Dual:
        return named.hardsigmoid()


class Softshrink(TorchActivation, torch.nn.Softshrink):
    """x - lambd above lambd, x + lambd below -lambd, 0 between.

    Args:
        lambd: as in `torch.nn.Softshrink`.

    Raises:
        ValueError: when a kernel is asked for, lambd < 0.

    Owen 1956 (Annals of Mathematical Statistics 27) for the bivariate normal probabilities.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Softshrink()(torch.tensor([-2., 0.3]))
        tensor([-1.5000,  0.0000])
    """

    @property
    def dual(self) -> Dual:
        return named.softshrink(float(self.lambd))
