"""Classification as regression on one-hot targets, with a calibrated temperature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..calibration import temperature
from ..check import require_number
from ..evolve import gain
from ..gram import Gram
from ..regularizer import best_diag_reg
from .folds import folds
from .task import Task


class OneHotRegression:
    """p = softmax(f / T), where f is the mean of networks trained on the centred one-hot targets y = e_label - 1/C.

    f = K* Q^-1 (I - e^{-Qs}) y, with Q = K + diag_reg tr(K)/N I and s = learning_rate t / (N C).

    T maximises the likelihood of the training labels under predictions that have not seen them, `temperature(f_-i, labels)`:
    leave-one-out in closed form at infinite time, f_-i = y_i - [Q^-1 y]_i / [Q^-1]_ii; from five folds at a finite time. The
    posterior variance takes no part: dividing by sqrt(T^2 + c variance) changed the log loss on digits by less than 2%.

    Args:
        task: what to learn from.
        diag_reg, t, learning_rate: as in `Ensemble`; diag_reg may be "evidence" or "loo".
        temperature: T; None as above.

    Raises:
        SingularKernelError: infinite time and a singular kernel. ValueError: a temperature that is not > 0.

    Lee et al. 2020 (arXiv 2007.15801) on centred targets; Guo et al. 2017 (arXiv 1706.04599) on temperatures; Rasmussen
    and Williams 2006, section 5.4.2, on leave-one-out.
    """

    def __init__(self, task: Task, diag_reg: float | str, t: float | None, learning_rate: float, temperature: float | None):
        self.task = task
        y = task.one_hot - 1 / task.classes  # (N, C)
        self.diag_reg = best_diag_reg(task.train, y.to(task.train), diag_reg) if isinstance(diag_reg, str) else float(diag_reg)
        time = None if t is None else t * learning_rate / task.classes
        gram = Gram(task.train, self.diag_reg)
        self.weights = _weights(gram, y, time)  # (N, C)
        if temperature is None:
            self.temperature = self._calibrated(gram, y, time)
        else:
            self.temperature = require_number("temperature", temperature, positive=True)

    @classmethod
    def learn(cls, task: Task, settings: Any) -> OneHotRegression:
        """With the parameters of a `Classifier`."""
        return cls(task, settings.diag_reg, settings.t, settings.learning_rate, settings.temperature)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """(M, C) at test points."""
        return (self.task.cross(x) @ self.weights / self.temperature).log_softmax(1)

    def _calibrated(self, gram: Gram, y: Tensor, time: float | None) -> float:
        """The temperature of predictions for training points that have not seen their labels; 1 where they know nothing."""
        if time is None:
            precision = torch.cholesky_inverse(gram.cholesky).diagonal()
            scores = y - self.weights / precision[:, None]
        else:
            scores = torch.empty_like(y)
            for kept, left in folds(self.task.labels, self.task.seed):
                part = Gram(self.task.train[kept][:, kept], self.diag_reg)
                less = time * len(kept) / len(y)  # the loss is a mean, so a part takes less time
                scores[left] = gram.plain[left][:, kept] @ _weights(part, y[kept], less)
        spread = (scores - scores.mean(1, keepdim=True)).abs().max()
        return temperature(scores, self.task.labels) if spread > 0 else 1.0


def _weights(gram: Gram, y: Tensor, time: float | None) -> Tensor:
    """Q^-1 (I - e^{-Q time / N}) y, (N, C)."""
    if time is None:
        return gram.solve(y)
    return gain(gram, torch.tensor([time / gram.size], dtype=y.dtype, device=y.device), y)[0]
