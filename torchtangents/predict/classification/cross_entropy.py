"""Classification by gradient flow on the softmax cross-entropy, stopped early."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..flow import GradientFlow
from ..learning_rate import max_learning_rate
from ..path import FlowState
from ..regularizer import best_diag_reg
from .folds import folds
from .task import Task

_TIMES = 10.0 ** torch.linspace(0, 6, 13, dtype=torch.float64)  # in units of the largest stable step
_PATIENCE = 1  # times after the best one
_ROUGH, _FINE = 1e-4, 1e-6  # tolerances of the solver


class CrossEntropyFlow:
    """p = softmax(f(t)), where df/dt = -learning_rate K dL/df on the mean cross-entropy L, from f(0) = 0.

    Infinite time has no limit: on separable data f grows for ever. So t=None stops early, at the time of a logarithmic grid
    with the least cross-entropy of labels left out (five stratified folds, drawn by the seed), and the whole training set
    then trains for that time; the search ends one time after the best. The flow is linear in the test kernel, so one solution
    gives weights W with f* = K* W.

    Args:
        task: what to learn from.
        diag_reg, learning_rate: as in `GradientFlow`; diag_reg may be "evidence" or "loo", of centred one-hot targets.
        t: training time, or None.

    Lee et al. 2019 (arXiv 1902.06720).
    """

    def __init__(self, task: Task, diag_reg: float | str, t: float | None, learning_rate: float):
        self.task = task
        k, y = task.train.double(), task.one_hot  # (N, N), (N, C)
        centred = (y - 1 / task.classes).to(task.train)
        self.diag_reg = best_diag_reg(task.train, centred, diag_reg) if isinstance(diag_reg, str) else float(diag_reg)
        self.learning_rate = learning_rate
        self.t = self._stopped(k, y) if t is None else float(t)
        unit = torch.eye(len(k), dtype=k.dtype, device=k.device)
        weights = self._flow(k, y, _FINE).at(self.t, fx_train_0=None, k_test_train=unit).test
        assert weights is not None
        self.weights = weights  # (N, C), the outputs of test points whose kernel with the training points is I

    @classmethod
    def learn(cls, task: Task, settings: Any) -> CrossEntropyFlow:
        """With the parameters of a `Classifier`."""
        return cls(task, settings.diag_reg, settings.t, settings.learning_rate)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """(M, C) at test points."""
        return (self.task.cross(x) @ self.weights).log_softmax(1)

    def _flow(self, k: Tensor, y: Tensor, tolerance: float) -> GradientFlow:
        options: dict[str, Any] = {"rtol": tolerance, "atol": 1e-2 * tolerance, "diag_reg": self.diag_reg}
        return GradientFlow(k, y, loss="cross_entropy", learning_rate=self.learning_rate, **options)

    def _stopped(self, k: Tensor, y: Tensor) -> float:
        """The time of the grid with the least cross-entropy of labels that were left out."""
        times = (_TIMES * max_learning_rate(k, y_train_size=y.numel()) / self.learning_rate).tolist()
        parts = [
            (self._flow(k[kept][:, kept], y[kept], _ROUGH), k[left][:, kept], y[left], len(kept) / len(k))
            for kept, left in folds(self.task.labels, self.task.seed)
        ]
        states = [FlowState(fx_test=0.0) for _ in parts]
        losses: list[float] = []
        for time in times:
            loss = 0.0
            for i, (flow, cross, labels, ratio) in enumerate(parts):  # the loss is a mean, so a part takes less time
                states[i] = flow.advance(time * ratio, states[i], cross)
                loss -= (torch.as_tensor(states[i].fx_test).log_softmax(1) * labels).sum().item()
            losses.append(loss)
            if len(losses) - losses.index(min(losses)) > _PATIENCE:  # later times only overfit, and cost ever more
                break
        return times[losses.index(min(losses))]
