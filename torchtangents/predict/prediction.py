"""What a prediction returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """Mean and covariance of Gaussian outputs; outputs are independent and share their covariance.

    mean is (*T, M) or (*T, M, O): M inputs, O outputs, T the shape of the training times asked for.
    covariance is (*T, M, M), the variances (*T, M), or None where it was not asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> posterior = tt.predict.Posterior(torch.eye(2), torch.tensor([1., 2.]))
        >>> mean, covariance = posterior.at(torch.tensor([[1., 0.]]), torch.tensor([1.]))
        >>> mean, covariance
        (tensor([1.]), tensor([0.]))
    """

    mean: Tensor
    covariance: Tensor | None


class Loss(NamedTuple):
    """Mean and standard deviation, over an ensemble, of the loss 1/2 mean((f - y)^2); each of the times' shape."""

    mean: Tensor
    std: Tensor


class Flow(NamedTuple):
    """Outputs of one network on the training and on the test points; None where they were not asked for."""

    train: Tensor | None
    test: Tensor | None
