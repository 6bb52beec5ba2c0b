"""ELU and its kin: linear above 0, exponential below; one-dimensional integrals over an angle."""

from __future__ import annotations

import torch

from ..covariance import named
from ..covariance.dual import Dual
from .activation import TorchActivation


class ELU(TorchActivation, torch.nn.ELU):
    """x for x > 0, alpha (exp(x) - 1) below.

    Args:
        alpha, inplace: as in `torch.nn.ELU`.

    Tsuchida et al. 2021 (arXiv 2002.08517) for another form of the kernel; ours does not overflow.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ELU()(torch.ones(1))
        tensor([1.])
    """

    @property
    def dual(self) -> Dual:
        return named.elu(float(self.alpha))


class SELU(TorchActivation, torch.nn.SELU):
    """1.0507 x for x > 0, 1.7581 (exp(x) - 1) below: variance 1 stays 1 (Klambauer et al. 2017, arXiv 1706.02515).

    Args:
        inplace: as in `torch.nn.SELU`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SELU()(torch.ones(1))
        tensor([1.0507])
    """

    @property
    def dual(self) -> Dual:
        return named.selu()


class CELU(TorchActivation, torch.nn.CELU):
    """x for x > 0, alpha (exp(x / alpha) - 1) below (Barron 2017, arXiv 1704.07483).

    Args:
        alpha, inplace: as in `torch.nn.CELU`.

    Raises:
        ValueError: when a kernel is asked for, alpha <= 0.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.CELU(2.)(torch.ones(1))
        tensor([1.])
    """

    @property
    def dual(self) -> Dual:
        return named.celu(float(self.alpha))
