"""An ensemble of infinitely wide networks in training, as a model of GPyTorch and BoTorch."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.models import GP
from torch import Tensor

from ..predict.check import require_times
from ..predict.ensemble import Ensemble
from ..predict.prediction import Prediction
from .distribution import as_gpytorch

if TYPE_CHECKING:
    from botorch.posteriors import GPyTorchPosterior

_TOGETHER = 256  # inputs of several batches whose covariance is computed as one matrix


class EnsembleModel(GP):
    """Infinitely wide networks at one time of their training, as a posterior: `Ensemble.at(t, x)` for GPyTorch and BoTorch.

    `model(x)` is N(mean, covariance) of the outputs at time t for x (*batch, M, D); `model.posterior(x)` is the same for
    BoTorch's acquisition functions and optimisers. Derivatives by x flow through the kernel. Outputs are independent tasks.
    There is nothing to train: it has no parameters, and `train()` and `eval()` are the same.

    Args:
        ensemble: a `torchtangents.predict.Ensemble`, with one tensor as its inputs.
        t: training time in steps; None is infinity. Change it by assignment or by `at`.
        input_shape: the shape of one input, which rows (*batch, M, D) are restored to; None leaves them (D,).

    Raises:
        TypeError: `ensemble` is none.
        ValueError: a time that is negative, infinite or not one number; inputs that do not fit `input_shape`.

    Lee et al. 2019 (arXiv 1902.06720); Balandat et al. 2020 (arXiv 1910.06403) for BoTorch.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 512), tt.nn.ReLU(), tt.nn.Linear(512, 1))
        >>> model = tt.gp.EnsembleModel(tt.predict.Ensemble(net, torch.eye(3), torch.tensor([1., -1., 0.])), t=10.)
        >>> early, late = model(torch.eye(3)), model.at(1000.)(torch.eye(3))
        >>> bool((late.stddev < early.stddev).all()), early.rsample(torch.Size([7])).shape
        (True, torch.Size([7, 3]))
    """

    _is_fully_bayesian = _is_ensemble = False  # of hyperparameters, as BoTorch means it

    def __init__(self, ensemble: Ensemble, t: float | Tensor | None = None, *, input_shape: tuple[int, ...] | None = None):
        super().__init__()
        if not isinstance(ensemble, Ensemble):
            raise TypeError(f"ensemble: expected a torchtangents.predict.Ensemble, got {type(ensemble).__name__}")
        self.ensemble = ensemble
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self.t = t

    @property
    def t(self) -> float | Tensor | None:
        """Training time; None is infinity."""
        return self._t

    @t.setter
    def t(self, value: float | Tensor | None) -> None:
        times = require_times(value, self.ensemble.y_train.device)
        if times is not None and times.ndim:
            raise ValueError(f"t: expected one training time, got shape {tuple(times.shape)}; use model.at(t) for each")
        self._t = value

    def at(self, t: float | Tensor | None) -> EnsembleModel:
        """The same ensemble at another time; it shares the kernels."""
        other = copy.copy(self)
        other.t = t
        return other

    @property
    def num_outputs(self) -> int:
        """O."""
        y = self.ensemble.y_train
        return 1 if y.ndim == 1 else y.shape[1]

    @property
    def batch_shape(self) -> torch.Size:
        """Of the model: there is one."""
        return torch.Size([])

    def forward(self, x: Tensor) -> MultivariateNormal:
        """The outputs' distribution for x (*batch, M, D): (*batch, M), or (*batch, M, O) where there are several outputs."""
        return self._distribution(x, slice(None))

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
        **_: Any,
    ) -> GPyTorchPosterior:
        """The same as BoTorch's posterior, for X (*batch, q, D).

        Args:
            X: inputs.
            output_indices: the outputs to keep; None for all.
            observation_noise: must be False: the ensemble has no likelihood.
            posterior_transform: as in `botorch.models.model.Model.posterior`.
        """
        from botorch.posteriors import GPyTorchPosterior

        if observation_noise is not False:
            raise ValueError("observation_noise: expected False, as an ensemble predicts outputs without noise")
        posterior = GPyTorchPosterior(self._distribution(X, slice(None) if output_indices is None else output_indices))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _distribution(self, x: Tensor, outputs: slice | list[int]) -> MultivariateNormal:
        if not isinstance(x, Tensor) or x.ndim < 2:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"expected inputs (*batch, M, D), got {got}")
        mean, covariance = self._moments(x)
        mean = mean[..., outputs]
        return as_gpytorch(mean.squeeze(-1) if mean.shape[-1] == 1 else mean, covariance, False)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (*batch, M, O) and covariance (*batch, M, M)."""
        batch, (m, _) = x.shape[:-2], x.shape[-2:]
        groups = x.reshape(-1, *x.shape[-2:])
        if m == 1:
            found = self._at(groups[:, 0], "diagonal")
            assert found.covariance is not None
            mean, covariance = found.mean, found.covariance[:, None, None]
        else:
            parts = [self._blocks(part) for part in groups.split(max(1, _TOGETHER // m))]
            mean, covariance = (torch.cat(both) for both in zip(*parts, strict=True))
        return mean.reshape(*batch, m, self.num_outputs), covariance.reshape(*batch, m, m)

    def _blocks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (b, M, ..) and covariance (b, M, M) of a few batches, from one covariance of all inputs."""
        b, m = x.shape[:2]
        mean, covariance = self._at(x.flatten(0, 1), "full")
        assert covariance is not None
        blocks = covariance.reshape(b, m, b, m).diagonal(dim1=0, dim2=2).movedim(-1, 0)
        return mean.reshape(b, m, -1), blocks

    def _at(self, rows: Tensor, covariance: str) -> Prediction:
        if self.input_shape is not None:
            if rows.shape[1] != math.prod(self.input_shape):
                raise ValueError(
                    f"expected inputs of {math.prod(self.input_shape)} columns to restore to input_shape={self.input_shape}, got "
                    f"{rows.shape[1]}"
                )
            rows = rows.reshape(-1, *self.input_shape)
        return self.ensemble.at(self.t, rows, covariance)
