"""What the networks see: standardised channels, or regularised ZCA. Both know the training images only, without labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

EPSILON = 10.0  # of ZCA, relative to the mean eigenvalue; among the powers of ten Myrtle-5's leave-one-out chose it at 160 images

Transform = Callable[[Tensor], Tensor]


def standardised(x: Tensor) -> Transform:
    """Subtracts each channel's mean over `x` (N, C, H, W) and divides by its standard deviation."""
    mean, std = x.double().mean((0, 2, 3), keepdim=True), x.double().std((0, 2, 3), keepdim=True)
    return lambda images: ((images.double() - mean) / std).float()


def whitened(x: Tensor, epsilon: float = EPSILON) -> Transform:
    """Regularised ZCA, fitted to `x` (N, C, H, W).

    z -> c U (L + epsilon mean(L) I)^-1/2 U^T (z - m), with z an image less its own mean and divided by its own standard
    deviation, m and U L U^T the mean and covariance of z over `x`, and c such that the result has mean square 1 over `x`.

    Raises:
        ValueError: an epsilon that is not > 0: fewer images than pixels leave eigenvalues of zero.

    Shankar et al. 2020 (arXiv 2003.02237) for ZCA; Lee et al. 2020 (arXiv 2007.15801) for a regulariser relative to the
    mean eigenvalue.
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon: expected a number > 0, got {epsilon!r}")
    rows = _contrast(x)  # (N, D)
    mean = rows.mean(0)
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred.mT @ centred / len(rows))
    values = values.clamp(min=0)  # zero up to rounding
    matrix = (vectors / (values + epsilon * values.mean()).sqrt()) @ vectors.mT  # (D, D)
    matrix = matrix / (centred @ matrix).square().mean().sqrt()
    return lambda images: ((_contrast(images) - mean) @ matrix).reshape(images.shape).float()


def _contrast(x: Tensor) -> Tensor:
    """Each image less its own mean, over its own standard deviation (0 for one without contrast): (N, D) in float64."""
    rows = x.double().flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    return torch.nan_to_num(rows / rows.square().mean(1, keepdim=True).sqrt())


FITS: dict[str, Callable[[Tensor], Transform]] = {"standardised": standardised, "zca": whitened}
