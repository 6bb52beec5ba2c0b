"""Calibrated probabilities: the temperature of a softmax, and how far confidence is from accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import require_shape, require_tensor

_RANGE = 1e-6, 1e4  # of the temperature, in units of the scores' own spread


def temperature(scores: Tensor, labels: Tensor) -> float:
    """The temperature T with which softmax(scores / T) gives the labels the largest likelihood.

    T = argmin -1/(N + 1) [sum_i log p_i(label_i) + 1/C sum_c mean_i log p_i(c)],  p_i = softmax(f_i / T),

    a convex problem in 1 / T. The second term stands for one more sample, whose label is spread evenly over the classes: where
    every label has the largest score the likelihood alone asks for T = 0, and is infinitely wrong about the first mistake.
    Scores must not have seen the labels: take leave-one-out or held-out ones, as `Posterior(k, one_hot).leave_one_out().mean`.
    T is at most 1e4 times the root mean square of the scores about their mean over classes, for scores that know nothing.

    Args:
        scores: (N, C) one score a class, C >= 2, not all equal.
        labels: (N,) integers in 0 .. C - 1.

    Raises:
        TypeError, ValueError: sizes or dtypes that do not fit, NaN, a label out of range, scores that are all equal.

    Guo, Pleiss, Sun and Weinberger 2017 (arXiv 1706.04599); Platt 1999 for labels smoothed by what one sample weighs.

    Example:
        >>> import torch, torchtangents as tt
        >>> scores = torch.tensor([[1., 0.], [1., 0.], [1., 0.], [1., 0.]])
        >>> round(tt.predict.temperature(scores, torch.tensor([0, 0, 0, 1])), 4)  # 1 / log(3.5 / 1.5)
        1.1802
    """
    from scipy.optimize import minimize_scalar

    scores, labels = _require_labelled("scores", scores, labels)
    centred = scores.detach().double()
    centred = centred - centred.mean(1, keepdim=True)
    spread = centred.square().mean().sqrt().item()
    if not spread > 0:
        raise ValueError("scores: expected scores that differ between classes, got all equal; no temperature fits better.")
    centred = centred / spread

    def loss(log_t: float) -> float:
        return torch.nn.functional.cross_entropy(centred / math.exp(log_t), labels, label_smoothing=1 / (len(labels) + 1)).item()

    found = minimize_scalar(loss, bounds=tuple(map(math.log, _RANGE)), method="bounded", options={"xatol": 1e-9})
    return spread * math.exp(found.x)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, n_bins: int = 15) -> float:
    """Mean distance between confidence and accuracy, over bins of equal width of the confidence.

    ECE = sum_b n_b / N |accuracy_b - confidence_b|, confidence being the largest probability.

    Args:
        probabilities: (N, C), rows that sum to 1.
        labels: (N,) integers in 0 .. C - 1.
        n_bins: number of bins of (0, 1].

    Raises:
        TypeError, ValueError: as `temperature`; rows that are no probabilities; n_bins < 1.

    Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017 (arXiv 1706.04599).

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.predict import expected_calibration_error
        >>> expected_calibration_error(torch.tensor([[.75, .25]] * 4), torch.tensor([0, 0, 0, 1]))
        0.0
    """
    probabilities, labels = _require_labelled("probabilities", probabilities, labels)
    if isinstance(n_bins, bool) or not isinstance(n_bins, int) or n_bins < 1:
        raise ValueError(f"n_bins: expected a number of bins >= 1, got {n_bins!r}.")
    p = probabilities.detach().double()
    if p.min() < 0 or not torch.allclose(p.sum(1), torch.ones(len(p), dtype=p.dtype, device=p.device), atol=1e-4):
        raise ValueError("probabilities: expected rows >= 0 that sum to 1; pass softmax(scores, 1).")
    confidence, chosen = p.max(1)
    bins = (confidence * n_bins).ceil().long().clamp(1, n_bins) - 1  # (N,)
    gap = (chosen == labels).double() - confidence
    return torch.zeros(n_bins, dtype=p.dtype, device=p.device).index_add(0, bins, gap).abs().sum().item() / len(p)


def _require_labelled(name: str, scores: object, labels: object) -> tuple[Tensor, Tensor]:
    """`scores` (N, C) and labels (N,) in 0 .. C - 1, if they are."""
    scores = require_tensor(name, scores)
    require_shape(name, scores, (-1, -1), remedy="one row for each sample, one column for each class")
    if scores.shape[0] < 1 or scores.shape[1] < 2:
        raise ValueError(f"{name}: expected at least one sample and two classes, got shape {tuple(scores.shape)}.")
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels: expected a tensor of integers, the index of each sample's class, got {kind}.")
    require_shape("labels", labels, (len(scores),), remedy=f"one label for each row of {name}")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        wrong = labels[(labels < 0) | (labels >= scores.shape[1])][0].item()
        raise ValueError(f"labels: expected integers in 0 .. {scores.shape[1] - 1}, got {wrong}.")
    return scores, labels.long().to(scores.device)
