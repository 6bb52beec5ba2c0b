"""Training losses: each as its gradient in the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Loss: TypeAlias = "str | Callable[[Tensor, Tensor], Tensor]"
Gradient: TypeAlias = Callable[[Tensor], Tensor]


def require_loss(loss: object, y: Tensor) -> Loss:
    """`loss` if it is "mse", "cross_entropy" with class probabilities `y`, or callable."""
    if loss == "cross_entropy":
        _require_probabilities(y)
    elif loss != "mse" and not callable(loss):
        raise ValueError(f'loss: expected "mse", "cross_entropy" or a callable loss(fx, y), got {loss!r}.')
    return loss  # type: ignore[return-value]


def gradient_of(loss: Loss, y: Tensor) -> Gradient:
    """The gradient in f (N, *O) of the loss for targets `y` (N, *O), both float64.

    - "mse", 1/2 mean((f - y)^2): (f - y) / n with n = y.size;
    - "cross_entropy", -mean(y log softmax(f)) over the last axis: (softmax(f) - y) / n, since rows of y sum to 1;
    - a callable: by autograd.
    """
    if loss == "mse":
        return lambda f: (f - y) / y.numel()
    if loss == "cross_entropy":
        return lambda f: (f.softmax(-1) * y.sum(-1, keepdim=True) - y) / y.numel()
    return lambda f: _automatic(loss, f, y)  # type: ignore[arg-type]


def _automatic(loss: Callable[[Tensor, Tensor], Tensor], f: Tensor, y: Tensor) -> Tensor:
    tracked = torch.is_grad_enabled()
    with torch.enable_grad():
        x = f if f.requires_grad else f.detach().requires_grad_()
        value = loss(x, y)
        if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"loss: expected loss(fx, y) to return a 0-dim floating tensor, got {got}; take a mean or a sum.")
        if not value.requires_grad:
            raise ValueError("loss: expected loss(fx, y) to be differentiable in fx, got a constant; do not detach fx.")
        (slope,) = torch.autograd.grad(value, x, create_graph=tracked, allow_unused=True)
    if slope is None:
        raise ValueError("loss: expected loss(fx, y) to depend on fx, its first argument; the order is (outputs, targets).")
    return slope if tracked else slope.detach()


def _require_probabilities(y: Tensor) -> None:
    if y.ndim < 2:
        raise ValueError(
            f'y_train: loss="cross_entropy" expects (N, ..., classes), got {tuple(y.shape)}; use torch.nn.functional.one_hot.'
        )
    error = (y.detach().sum(-1) - 1).abs().max().item()
    if bool((y.detach() < 0).any()) or error > y.shape[-1] * torch.finfo(y.dtype).eps ** 0.5:
        raise ValueError(
            'y_train: loss="cross_entropy" expects probabilities that sum to 1 over the last axis, one-hot or soft; got rows off '
            f"by {error:.3g}, least entry {y.detach().min().item():.3g}; use torch.nn.functional.one_hot."
        )
