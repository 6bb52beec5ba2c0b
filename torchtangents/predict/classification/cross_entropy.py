"""Classification by gradient flow on the softmax cross-entropy, stopped early."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..check import require_number
from ..flow import GradientFlow
from ..learning_rate import max_learning_rate
from ..regularizer import best_diag_reg
from .task import Task

_TIMES = 10.0 ** torch.linspace(0, 4, 17, dtype=torch.float64)  # in units of the largest stable step


class CrossEntropyFlow:
    """p = softmax(f(t)), where df/dt = -learning_rate K dL/df on the mean cross-entropy L, from f(0) = 0.

    Infinite time has no limit: on separable data f grows for ever. So t=None stops early, at the time of a logarithmic grid
    with the least cross-entropy of labels held out (a stratified part `validation_fraction` of the training data, drawn by
    the seed), and the whole training set then trains for that time. The flow is linear in the test kernel, so one solution
    gives weights W with f* = K* W.

    Args:
        task: what to learn from.
        diag_reg, learning_rate: as in `GradientFlow`; diag_reg may be "evidence" or "loo", of centred one-hot targets.
        t: training time, or None.
        validation_fraction: in (0, 1).

    Raises:
        ValueError: a validation_fraction out of range.

    Lee et al. 2019 (arXiv 1902.06720).
    """

    def __init__(self, task: Task, diag_reg: float | str, t: float | None, learning_rate: float, validation_fraction: float):
        self.task = task
        k, y = task.train.double(), task.one_hot  # (N, N), (N, C)
        centred = (y - 1 / task.classes).to(task.train)
        self.diag_reg = best_diag_reg(task.train, centred, diag_reg) if isinstance(diag_reg, str) else float(diag_reg)
        self.learning_rate = learning_rate
        self.t = self._stopped(k, y, validation_fraction) if t is None else float(t)
        self.weights = self._weights(k, y, self.t)  # (N, C)

    @classmethod
    def learn(cls, task: Task, settings: Any) -> CrossEntropyFlow:
        """With the parameters of a `Classifier`."""
        return cls(task, settings.diag_reg, settings.t, settings.learning_rate, settings.validation_fraction)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """(M, C) at test points."""
        return (self.task.cross(x) @ self.weights).log_softmax(1)

    def _weights(self, k: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """W (*T, N, C) with f* = K* W: the outputs of test points whose kernel with the training points is I."""
        flow = GradientFlow(k, y, loss="cross_entropy", learning_rate=self.learning_rate, diag_reg=self.diag_reg)
        weights = flow.at(t, fx_train_0=None, k_test_train=torch.eye(len(k), dtype=k.dtype, device=k.device)).test
        assert weights is not None
        return weights

    def _stopped(self, k: Tensor, y: Tensor, fraction: float) -> float:
        """The time of the grid with the least cross-entropy of held-out labels."""
        from sklearn.model_selection import train_test_split

        if require_number("validation_fraction", fraction, positive=True) >= 1:
            raise ValueError(f"validation_fraction: expected a number in (0, 1), got {fraction!r}.")
        n, labels = len(k), self.task.labels.cpu().numpy()
        held = max(1, round(fraction * n))
        enough = held >= self.task.classes and n - held >= self.task.classes and torch.bincount(self.task.labels).min() > 1
        parts = train_test_split(range(n), test_size=held, random_state=self.task.seed, stratify=labels if enough else None)
        kept, left = (torch.tensor(sorted(part), device=k.device) for part in parts)
        part, ratio = k[kept][:, kept], n / len(kept)  # a time of the whole set is `ratio` times that of a part
        times = _TIMES * max_learning_rate(k, y_train_size=y.numel()) / self.learning_rate
        outputs = k[left][:, kept] @ self._weights(part, y[kept], times / ratio)  # (T, L, C)
        losses = -(outputs.log_softmax(-1) * y[left]).sum(-1).mean(-1)  # (T,)
        return times[losses.argmin()].item()
