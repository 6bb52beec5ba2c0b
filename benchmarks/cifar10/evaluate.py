"""Class probabilities from a stored kernel, and how good they are.

The targets are centred one-hot vectors, y = e_label - 1/10. The mean of infinitely many networks trained on them, or of the
posterior, is f = K* (K + diag_reg tr(K)/N I)^-1 y. diag_reg maximises the leave-one-out density of the targets and the
temperature T that of the labels, both in closed form from the training set alone
(`torchtangents.predict.classification.one_hot`). The predictive probabilities are softmax(f / T): proper, since T has not
seen the test labels. The log likelihood is the mean over test images of log softmax(f / T)[label], in nats.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from torchtangents.predict.classification.one_hot import OneHotRegression
from torchtangents.predict.classification.task import Task

from .data import CLASSES

RESAMPLES = 1000


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
    """What a method of classification learns from, where the kernel has been computed before; its test points are rows (N,) of it."""

    def __init__(self, train: Tensor, labels: Tensor):
        self.train, self.labels, self.classes, self.seed = train, labels, CLASSES, 0

    def cross(self, x: Tensor) -> Tensor:
        return x.double()


def predict(train: Tensor, labels: Tensor, test: Tensor) -> Prediction:
    """From kernels (N, N) and (M, N), and labels (N,)."""
    learned = OneHotRegression(_Stored(train, labels), "loo", None, 1.0, None)
    return Prediction(learned.log_probabilities(test), learned.diag_reg, learned.temperature)


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
