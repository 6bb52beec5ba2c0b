"""The loss of an ensemble of Gaussian outputs."""

from __future__ import annotations

from torch import Tensor

from .prediction import Loss


def ensemble_loss(mean: Tensor, covariance: Tensor, y: Tensor) -> Loss:
    """Mean and standard deviation of L = 1/2 mean((f - y)^2) for f ~ N(mean, covariance), for each of T times.

    With d = mean - y, over M points and O outputs: E L = (d.d + O tr C) / (2 M O) and
    Var L = (2 O tr C^2 + 4 sum_o d_o^T C d_o) / (2 M O)^2.

    Args:
        mean: (T, M, O). covariance: (T, M, M), the same for every output. y: (M, O).
    """
    error = mean - y  # (T, M, O)
    outputs = y.shape[-1]
    scale = 2 * y.numel()
    square = error.square().sum((-2, -1))  # (T,)
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)  # (T,)
    quadratic = (error * (covariance @ error)).sum((-2, -1))  # (T,)
    variance = 2 * outputs * covariance.square().sum((-2, -1)) + 4 * quadratic  # (T,), C is symmetric
    return Loss((square + outputs * trace) / scale, variance.clamp(min=0).sqrt() / scale)
