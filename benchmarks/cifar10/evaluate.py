"""Class probabilities from a stored kernel, and how good they are.

The targets are centred one-hot vectors, y = e_label - 1/10. The mean of infinitely many networks trained on them (NTK), or of
the posterior (NNGP), is f = K* Q^-1 y with Q = K + diag_reg tr(K)/N I, and the class probabilities are softmax(f / T). The two
numbers diag_reg (of `GRID`) and T together maximise the leave-one-out likelihood of the training labels,

    sum_i log softmax(f_-i / T)[label_i],   f_-i = y_i - [Q^-1 y]_i / [Q^-1]_ii

(Rasmussen and Williams 2006, equation 5.12; T by `tt.predict.temperature`). So no test label is used, and the log likelihood
reported is of proper predictive probabilities: the mean over test images of log softmax(f / T)[label], in nats.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torchtangents.predict import temperature
from torchtangents.predict.classification.one_hot import OneHotRegression
from torchtangents.predict.classification.task import Task

from .data import CLASSES

RESAMPLES = 1000
GRID = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 3))  # of diag_reg, 1e-4 .. 10
CHOSEN_BY = "diag_reg and temperature by leave-one-out likelihood"


class Prediction(NamedTuple):
    """Log probabilities (M, 10) of the test images, and what the training set chose."""

    log_p: Tensor
    diag_reg: float
    temperature: float


class Score(NamedTuple):
    """Accuracy and log likelihood, with standard errors over test images."""

    accuracy: float
    accuracy_error: float
    log_likelihood: float
    log_likelihood_error: float


class _Stored(Task):
    """A task whose kernel has been computed before; its test points are rows (N,) of the kernel."""

    def __init__(self, train: Tensor, labels: Tensor):
        self.train, self.labels, self.classes, self.seed = train, labels, CLASSES, 0

    def cross(self, x: Tensor) -> Tensor:
        return x.double()


def predict(train: Tensor, labels: Tensor, test: Tensor) -> Prediction:
    """From kernels (N, N) and (M, N), and labels (N,)."""
    task = _Stored(train, labels)
    learned = OneHotRegression(task, best_diag_reg(task), None, 1.0, None)
    return Prediction(learned.log_probabilities(test), learned.diag_reg, learned.temperature)


def best_diag_reg(task: Task) -> float:
    """The one of `GRID` with the largest leave-one-out likelihood of the labels, each at its best temperature."""
    k, y = task.train.double(), task.one_hot - 1 / task.classes
    scale = k.diagonal().mean()
    values, vectors = torch.linalg.eigh((k + k.mT) / 2)
    projected, squares = vectors.mT @ y, vectors.square()

    def likelihood(diag_reg: float) -> float:
        q = values + diag_reg * scale  # (N,)
        scores = y - vectors @ (projected / q[:, None]) / (squares @ (1 / q))[:, None]  # (N, C)
        log_p = (scores / temperature(scores, task.labels)).log_softmax(1)
        return log_p.gather(1, task.labels[:, None]).mean().item()

    return max(GRID, key=likelihood)


def score(log_p: Tensor, labels: Tensor, seed: int = 0) -> Score:
    """Of log probabilities (M, C) for labels (M,); errors by resampling the test images (Efron 1979)."""
    right = (log_p.argmax(1) == labels).double()
    density = log_p.double().gather(1, labels[:, None])[:, 0]
    each = torch.stack([right, density], 1)  # (M, 2)
    accuracy, log_likelihood = each.mean(0).tolist()
    accuracy_error, log_likelihood_error = bootstrap(each, seed).tolist()
    return Score(accuracy, accuracy_error, log_likelihood, log_likelihood_error)


def bootstrap(each: Tensor, seed: int = 0) -> Tensor:
    """The standard deviation of means (K,) over resamplings of the rows of `each` (M, K)."""
    drawn = torch.randint(len(each), (RESAMPLES, len(each)), generator=torch.Generator().manual_seed(seed))
    return torch.stack([each[rows].mean(0) for rows in drawn]).std(0)
