"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .ensemble import Ensemble
from .inputs import Inputs
from .posterior import Posterior


@dataclass(frozen=True)
class Fit:
    """What `fit` found.

    Attributes:
        net: a copy of the network, weights included, with the hyperparameters found.
        values: the hyperparameters found, by dotted name ("0.w_std").
        diag_reg: the regulariser found, relative to the mean of the kernel's diagonal.
        noise: the same as a variance, in squared units of y_train.
        history: log density a target after each step, the start first.
        reason: why it stopped; begins with "converged", "no progress", "step limit" or "numerical trouble".
        converged: whether at a maximum.

    Example:
        >>> import torch, torchtangents as tt
        >>> x = torch.linspace(-1, 1, 8)[:, None]
        >>> found = tt.predict.fit(tt.nn.Linear(1, 1), x, x[:, 0], max_steps=3)
        >>> sorted(found.values), len(found.history) > 0
        (['b_std', 'w_std'], True)
    """

    net: nn.Module
    values: dict[str, float]
    diag_reg: float
    noise: float
    history: list[float] = field(repr=False)
    reason: str
    converged: bool
    _data: tuple[Any, Tensor, str, dict[str, Any]] = field(repr=False)

    def posterior(self) -> Posterior:
        """The Gaussian process with the kernel found, which has seen the training data."""
        x, y, kernel, options = self._data
        return Posterior(kernel_of(self.net, x, kernel, options).detach(), y, diag_reg=self.diag_reg)

    def ensemble(self, **options: Any) -> Ensemble:
        """An `Ensemble` of the network found, of kernel "nngp" or "ntkgp": at t=None it is the posterior, at any test inputs.

        Args:
            options: as `Ensemble`; kernel="ntk" for networks that gradient descent trains.
        """
        x, y, kernel, given = self._data
        chosen = {"kernel": "nngp" if kernel == "nngp" else "ntkgp", "diag_reg": self.diag_reg, **given, **options}
        return Ensemble(self.net, x, y, **chosen)


def kernel_of(net: nn.Module, x: Inputs, kernel: str, options: dict[str, Any]) -> Tensor:
    """The one of the two kernels that `kernel` names, of the inputs with themselves: (N, N)."""
    from ..kernels import nngp, ntk

    return (nngp if kernel == "nngp" else ntk)(net, x, **options)
