"""Functions of time of the train-train kernel, by its eigendecomposition, with gradients that degenerate eigenvalues do
not spoil.

With s = learning_rate t / n and n = y_train.size: decay = e^{-Ks}, growth = I - e^{-Ks}, gain = K^-1 (I - e^{-Ks}).
Under gradient descent s is the number of steps, `step` = learning_rate / n, and e^{-Ks} becomes (I - step K)^s.
A mode that arithmetic cannot tell from zero does not move: its gain is zero, as in the pseudo-inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .gram import Gram
from .stepping import StepDecay, StepGain, StepGrowth


def decay(gram: Gram, s: Tensor, v: Tensor, step: float | None = None) -> Tensor:
    """e^{-Ks} v for times s (T,) and v (N, M) -> (T, N, M)."""
    return evolve(_Decay() if step is None else StepDecay(step), gram, s, v)


def growth(gram: Gram, s: Tensor, v: Tensor, step: float | None = None) -> Tensor:
    """(I - e^{-Ks}) v for times s (T,) and v (N, M) -> (T, N, M), exact for small s."""
    return evolve(_Growth() if step is None else StepGrowth(step), gram, s, v)


def gain(gram: Gram, s: Tensor, v: Tensor, step: float | None = None) -> Tensor:
    """K^-1 (I - e^{-Ks}) v for times s (T,) and v (N, M) -> (T, N, M), exact for small s."""
    return evolve(_Gain() if step is None else StepGain(step), gram, s, v)


class Function(Protocol):
    """A function of an eigenvalue and of time."""

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        """f(a)."""
        ...

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        """The derivative in s."""
        ...

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        """(f(a) - f(b)) / (a - b), and the derivative in a at a = b."""
        ...


class _Decay:
    """e^{-as}."""

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.exp(-a * s)

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        return -a * torch.exp(-a * s)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return -torch.exp(-torch.minimum(a, b) * s) * _integral((a - b).abs(), s)


class _Growth:
    """1 - e^{-as}."""

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return -torch.expm1(-a * s)

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        return a * torch.exp(-a * s)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        return -_Decay().difference(a, b, s)


class _Gain:
    """(1 - e^{-as}) / a, and 0 at a = 0."""

    def value(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a > 0, _integral(a, s), 0.0)

    def rate(self, a: Tensor, s: Tensor) -> Tensor:
        return torch.where(a > 0, torch.exp(-a * s), 0.0)

    def difference(self, a: Tensor, b: Tensor, s: Tensor) -> Tensor:
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        top = torch.where(high > 0, high, 1.0)
        exact = (torch.exp(-low * s) * _integral(high - low, s) - _integral(low, s)) / top
        series = s**2 * (-0.5 + (a + b) * s / 6 - (a * a + a * b + b * b) * s**2 / 24)
        both = torch.where(high * s < 1e-4, series, exact)
        one = _integral(high, s) / top  # the other mode does not move
        return torch.where(low > 0, both, torch.where(high > 0, one, 0.0))


def _integral(a: Tensor, s: Tensor) -> Tensor:
    """Integral of e^{-au} for u from 0 to s: (1 - e^{-as}) / a, and s at a = 0."""
    return torch.where(a > 0, -torch.expm1(-a * s) / torch.where(a > 0, a, 1.0), s)


class _Evolve(torch.autograd.Function):
    """f(Ks) v = V f(values s) V^T v. Backward by divided differences of f (Daleckii and Krein 1965)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, k: Tensor, s: Tensor, v: Tensor, values: Tensor, vectors: Tensor, function: Function
    ) -> Tensor:
        ctx.save_for_backward(s, v, values, vectors)
        ctx.function = function
        return vectors @ (function.value(values, s[:, None])[:, :, None] * (vectors.mT @ v))  # (T, N, M)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        s, v, values, vectors = ctx.saved_tensors
        v, grad = vectors.mT @ v, vectors.mT @ grad  # both in the eigenbasis
        grad_k = grad_s = grad_v = None
        if ctx.needs_input_grad[0]:
            inner = torch.zeros_like(vectors)
            for time, slope in zip(s, grad, strict=True):
                inner += ctx.function.difference(values[:, None], values[None, :], time) * (slope @ v.mT)
            grad_k = vectors @ inner @ vectors.mT
            grad_k = (grad_k + grad_k.mT) / 2
        if ctx.needs_input_grad[1]:
            grad_s = (grad * ctx.function.rate(values, s[:, None])[:, :, None] * v).sum((1, 2))
        if ctx.needs_input_grad[2]:
            grad_v = vectors @ (ctx.function.value(values, s[:, None])[:, :, None] * grad).sum(0)
        return grad_k, grad_s, grad_v, None, None, None


def evolve(function: Function, gram: Gram, s: Tensor, v: Tensor) -> Tensor:
    """f(K) v at times s (T,) for v (N, M) -> (T, N, M)."""
    values, vectors = gram.spectrum
    apply: Callable[..., Tensor] = _Evolve.apply
    return apply(gram.matrix, s, v, values, vectors, function)
