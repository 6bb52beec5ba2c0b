"""What a prediction returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from gpytorch.distributions import MultivariateNormal


class Prediction(NamedTuple):
    """Mean and covariance of Gaussian outputs; outputs are independent and share their covariance.

    Attributes:
        mean: (*T, M) or (*T, M, O): M inputs, O outputs, T the shape of the training times asked for.
        covariance: (*T, M, M), the variances (*T, M), or None where it was not asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> posterior = tt.predict.Posterior(torch.eye(2), torch.tensor([1., 2.]))
        >>> mean, covariance = posterior.at(torch.tensor([[1., 0.]]), torch.tensor([1.]))
        >>> mean, covariance
        (tensor([1.]), tensor([0.]))
    """

    mean: Tensor
    covariance: Tensor | None

    def to_gpytorch(self, diagonal: bool | None = None) -> MultivariateNormal:
        """As a distribution of GPyTorch: to draw from, for its density and its confidence region.

        N(mean, covariance), or for O outputs the matrix normal law N(vec mean, covariance x I_O) with outputs as tasks. Where a
        full covariance has no Cholesky factor in its dtype (duplicates, infinite time on the training points), eps times its mean
        variance (or eps, if that is less) is added to its diagonal, ten times as much until it has one; elsewhere nothing is.

        Args:
            diagonal: whether the covariance is the variances (*T, M); None reads it off the shapes, which tell unless mean and
                covariance are equal squares (as many outputs as inputs, or as many times).

        Returns:
            MultivariateNormal (*T, M), or MultitaskMultivariateNormal (*T, M, O).

        Raises:
            ValueError: a prediction without covariance; shapes that do not fit, or do not tell.

        Example:
            >>> import torch, torchtangents as tt
            >>> posterior = tt.predict.Posterior(torch.eye(2), torch.tensor([1., 2.]))
            >>> lower, upper = posterior.at(torch.tensor([[.6, 0.]]), torch.tensor([1.])).to_gpytorch().confidence_region()
            >>> lower, upper
            (tensor([-1.]), tensor([2.2000]))
        """
        from ..gp.distribution import as_gpytorch

        return as_gpytorch(self.mean, self.covariance, diagonal)


class Loss(NamedTuple):
    """Mean and standard deviation, over an ensemble, of the loss 1/2 mean((f - y)^2).

    Attributes:
        mean: of the shape of the times asked for.
        std: of the same shape.

    Example:
        >>> import torch, torchtangents as tt
        >>> ensemble = tt.predict.Ensemble(tt.nn.Linear(2, 1), torch.eye(2), torch.ones(2))
        >>> mean, std = ensemble.loss(torch.tensor([0., 10., 100.]))
        >>> mean.shape, bool(mean[2] < mean[0])
        (torch.Size([3]), True)
    """

    mean: Tensor
    std: Tensor


class Flow(NamedTuple):
    """Outputs of one network on the training and on the test points.

    Attributes:
        train: (*T, N, *O), T the shape of the times asked for; None where it was not asked for.
        test: (*T, M, *O), or None.

    Example:
        >>> import torch, torchtangents as tt
        >>> train, test = tt.predict.GradientFlow(torch.eye(2), torch.ones(2)).at(t=torch.tensor([1., 10.]))
        >>> train.shape, test
        (torch.Size([2, 2]), None)
    """

    train: Tensor | None
    test: Tensor | None
