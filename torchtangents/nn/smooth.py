"""torch's smooth activations without a closed form: their kernels by quadrature, to 1e-8 in float64."""

from __future__ import annotations

import torch

from ..covariance import named
from ..covariance.dual import Dual
from .activation import TorchActivation


class Tanh(TorchActivation, torch.nn.Tanh):
    """tanh(x).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Tanh()(torch.zeros(1))
        tensor([0.])
    """

    @property
    def dual(self) -> Dual:
        return named.tanh()


class Sigmoid(TorchActivation, torch.nn.Sigmoid):
    """1 / (1 + exp(-x)).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Sigmoid()(torch.zeros(1))
        tensor([0.5000])
    """

    @property
    def dual(self) -> Dual:
        return named.sigmoid()


class SiLU(TorchActivation, torch.nn.SiLU):
    """x / (1 + exp(-x)).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Args:
        inplace: as in `torch.nn.SiLU`.

    Elfwing, Uchibe and Doya 2017 (arXiv 1702.03118); Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SiLU()(torch.zeros(1))
        tensor([0.])
    """

    @property
    def dual(self) -> Dual:
        return named.silu()


class Softplus(TorchActivation, torch.nn.Softplus):
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold.

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Args:
        beta, threshold: as in `torch.nn.Softplus`.

    Raises:
        ValueError: when a kernel is asked for, beta <= 0.

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Softplus()(torch.zeros(1))
        tensor([0.6931])
    """

    @property
    def dual(self) -> Dual:
        return named.softplus(float(self.beta), float(self.threshold))


class Mish(TorchActivation, torch.nn.Mish):
    """x tanh(log(1 + exp(x))).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Args:
        inplace: as in `torch.nn.Mish`.

    Misra 2019 (arXiv 1908.08681); Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Mish()(torch.ones(1))
        tensor([0.8651])
    """

    @property
    def dual(self) -> Dual:
        return named.mish()


class LogSigmoid(TorchActivation, torch.nn.LogSigmoid):
    """-log(1 + exp(-x)).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.LogSigmoid()(torch.zeros(1))
        tensor([-0.6931])
    """

    @property
    def dual(self) -> Dual:
        return named.log_sigmoid()


class Softsign(TorchActivation, torch.nn.Softsign):
    """x / (1 + |x|).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by Gauss-Legendre panels that end at 0, to 1e-8.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Softsign()(torch.ones(1))
        tensor([0.5000])
    """

    @property
    def dual(self) -> Dual:
        return named.softsign()


class Tanhshrink(TorchActivation, torch.nn.Tanhshrink):
    """x - tanh(x).

    No closed form is known: K' = E f(u) f(v) and E f'(u) f'(v) by the trapezoid rule, to 1e-8.

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Tanhshrink()(torch.ones(1))
        tensor([0.2384])
    """

    @property
    def dual(self) -> Dual:
        return named.tanhshrink()
