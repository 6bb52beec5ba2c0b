"""The largest step size at which gradient descent converges."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import require_number, require_square
from .extremes import largest_eigenvalue
from .gram import Gram


def max_learning_rate(ntk: Tensor, *, y_train_size: int | None = None, momentum: float = 0.0) -> float:
    """The largest learning rate with which gradient descent on the loss 1/2 mean((f - y)^2) converges.

    2 (1 + momentum) n / lambda_max, with n = y_train.size and lambda_max the NTK's largest eigenvalue.

    Args:
        ntk: (N, N) NTK of the training points, or (N, N, O, O) with one pair for each output axis, zipped.
        y_train_size: n, the number of training points times outputs; None: one output for each row, N or N O.
        momentum: of heavy-ball gradient descent, in [0, 1).

    Raises:
        ValueError: `ntk` is not a symmetric matrix, or has no positive eigenvalue; another argument is out of range.

    Lee et al. 2019 (arXiv 1902.06720).

    Example:
        >>> import torch, torchtangents as tt
        >>> round(tt.predict.max_learning_rate(torch.diag(torch.tensor([4., 1.])), y_train_size=20), 6)
        10.0
    """
    if isinstance(ntk, Tensor) and ntk.ndim > 2 and ntk.ndim % 2 == 0:
        n = ntk.ndim  # (N, N, O, O): one matrix over points and outputs
        ntk = ntk.permute(*range(0, n, 2), *range(1, n, 2)).flatten(0, n // 2 - 1).flatten(1)
    ntk = require_square("ntk", ntk)
    if require_number("momentum", momentum) >= 1:
        raise ValueError(f"momentum: expected a number in [0, 1), got {momentum!r}.")
    size = ntk.shape[0] if y_train_size is None else require_number("y_train_size", y_train_size, positive=True)
    matrix = ntk.detach().double()
    largest = largest_eigenvalue(lambda v: (matrix @ torch.from_numpy(v).to(matrix.device)).cpu().numpy(), len(matrix), 1e-7)
    if not largest > 0:
        raise ValueError(f"ntk: expected a positive eigenvalue, the largest is {largest:.3g}; check the kernel.")
    return 2 * (1 + momentum) * size / largest


def stable_rate(gram: Gram, size: int, momentum: float = 0.0) -> float:
    """The same for a factored kernel and n = `size`; infinite where nothing moves."""
    largest = gram.spectrum.values[-1].item()
    return 2 * (1 + momentum) * size / largest if largest > 0 else math.inf


def diverged(learning_rate: float, limit: float | None) -> ArithmeticError:
    """The error for a learning rate above `limit`, None where it is not known."""
    advice = "lower it" if limit is None else f"below {limit:.4g} it converges (see max_learning_rate)"
    return ArithmeticError(f"training diverges: learning_rate={learning_rate:g} is too large; {advice}.")
