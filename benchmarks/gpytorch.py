"""Cases of kernels as GPyTorch calls them: one layer of data, ("gpytorch", hidden ReLU layers, "forward" or "gradient")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def asks(net: Sequence) -> bool:
    """Whether a case is one of these."""
    return bool(net) and net[0][0] == "gpytorch"


def depth(net: Sequence) -> int:
    """Hidden layers."""
    return net[0][1]


def call(kernel: Any, net: Sequence, x: Any) -> Callable[[], tuple]:
    """The covariance of x as a plain matrix; with "gradient" also the derivatives of its sum by the hyperparameters."""
    import torch

    def forward() -> tuple:
        with torch.no_grad():
            return (kernel(x).to_dense(),)

    def gradient() -> tuple:
        kernel.zero_grad()
        k = kernel(x).to_dense()
        k.sum().backward()
        return (k.detach(),)

    return gradient if net[0][2] == "gradient" else forward
