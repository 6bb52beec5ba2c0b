"""Polynomial activations, with closed-form kernels of any degree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..covariance import polynomial, rectified
from ..covariance.dual import Dual
from ..covariance.kinked import ABReLU
from .activation import Activation
from .law import Scalar
from .scalars import held


def _degree(layer: str, n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{layer}: expected the degree as an integer, got {n!r}")
    if not 0 <= n <= polynomial.LARGEST:
        raise ValueError(
            f"{layer}: expected a degree from 0 to {polynomial.LARGEST}, got {n} (beyond, E x^(2n) at variance 1 overflows)"
        )
    return n


class Polynomial(Activation):
    """sum_i coefficients[i] x^i: K' = sum_l l! a_l(v1) a_l(v2) q^l, a_l(v) = sum_k c_(l+2k) (l+2k)! / (2^k k! l!) v^k.

    Args:
        coefficients: constant first; floats or 0-dim tensors, or a tensor of one axis.

    Raises:
        TypeError, ValueError: a coefficient that is not a finite scalar; none, or more than 151.

    Daniely, Frostig and Singer 2016 (arXiv 1602.05897); in this form zero inputs are exact.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.Polynomial([1., 0., 2.])(torch.tensor([3.]))
        tensor([19.])
    """

    def __init__(self, coefficients: Sequence[Scalar] | Tensor):
        super().__init__()
        if isinstance(coefficients, Tensor) and coefficients.ndim != 1:
            raise TypeError(f"Polynomial: expected coefficients along one axis, got shape {tuple(coefficients.shape)}")
        values = list(coefficients)
        _degree("Polynomial", len(values) - 1)
        self.scalars = held("Polynomial", **{f"c{i}": c for i, c in enumerate(values)})

    @property
    def dual(self) -> Dual:
        values = list(vars(self.scalars).values())
        if any(isinstance(c, Tensor) for c in values):
            return polynomial.Polynomial(torch.stack([torch.as_tensor(c, dtype=torch.float64) for c in values]))
        return polynomial.Polynomial(values)


class _OfDegree(Activation):
    """A family numbered by its degree."""

    def __init__(self, degree: int):
        super().__init__()
        self.degree = _degree(type(self).__name__, degree)

    def extra_repr(self) -> str:
        return str(self.degree)


class Monomial(_OfDegree):
    """x^degree: K' = sum_l (degree! / (2^k k!))^2 / l! (v1 v2)^k q^l, l + 2k = degree.

    Args:
        degree: an integer from 0 to 150.

    Raises:
        TypeError, ValueError: another degree.

    Daniely, Frostig and Singer 2016 (arXiv 1602.05897).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), tt.nn.Monomial(2))
        >>> tt.nngp(net, torch.ones(1, 1))
        tensor([[3.]])
    """

    @property
    def dual(self) -> Dual:
        return polynomial.Polynomial([0.0] * self.degree + [1.0])

    def forward(self, input: Tensor) -> Tensor:
        return input**self.degree


class RectifiedMonomial(_OfDegree):
    """x^degree for x >= 0, 0 below: K' = (x y)^degree J(theta) / 2 pi, the arc-cosine kernel; degree 0 is a step.

    Args:
        degree: an integer from 0 to 150.

    Raises:
        TypeError, ValueError: another degree.

    Cho and Saul 2009 (NeurIPS) and 2011 (arXiv 1112.3712).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), tt.nn.RectifiedMonomial(2))
        >>> tt.nngp(net, torch.ones(1, 1))
        tensor([[1.5000]])
    """

    @property
    def dual(self) -> Dual:
        return ABReLU(0.0, 1.0) if self.degree == 1 else rectified.RectifiedMonomial(self.degree)


class Hermite(_OfDegree):
    """He_n(x) / sqrt(n!), n = degree: K' = q^n at variance 1, and exact at any other.

    K' = sum_k (n! / (2^k k! l!))^2 l! / n! ((v1 - 1)(v2 - 1))^k q^l, l = n - 2k.

    Args:
        degree: an integer from 0 to 150.

    Raises:
        TypeError, ValueError: another degree.

    Daniely, Frostig and Singer 2016 (arXiv 1602.05897).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), tt.nn.Hermite(3))
        >>> tt.nngp(net, torch.ones(1, 1))
        tensor([[1.]])
    """

    @property
    def dual(self) -> Dual:
        return polynomial.Hermite(self.degree)
