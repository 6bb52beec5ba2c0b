"""The expectation of a softmax of independent Gaussians."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_DRAWS = 256


def normal_points(classes: int, seed: int, like: Tensor) -> Tensor:
    """Points of a scrambled Sobol sequence as independent normal numbers (256, C), on the device of `like`, float64."""
    points = torch.quasirandom.SobolEngine(classes, scramble=True, seed=seed).draw(_DRAWS, dtype=torch.float64)
    return torch.special.ndtri(points.clamp(1e-9, 1 - 1e-9)).to(like.device)


def log_expected_softmax(mean: Tensor, variance: Tensor, points: Tensor) -> Tensor:
    """log E softmax(f), f_c ~ N(mean_c, variance_c): (M, C) for mean and variance (M, C) and points (S, C).

    The same points serve every row, so that a row's probabilities do not depend on the others.
    """
    std, total = variance.sqrt(), torch.full_like(mean, -math.inf)
    for point in points:  # one at a time: (M, C), not (S, M, C)
        total = torch.logaddexp(total, (mean + std * point).log_softmax(1))
    return total.log_softmax(1)  # sums to one to the last bit
