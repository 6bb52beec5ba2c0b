"""Mean and covariance of an ensemble of infinitely wide networks at one time (Lee et al. 2019, equations 14-16).

s = learning_rate t / y.size, None at infinity; under gradient descent s = t with `step` = learning_rate / y.size, and
(I - step Q)^t stands for e^{-Qs}. Q is the regularised train-train kernel that drives the training. On the
test points, with B = K* Q^-1 (I - e^{-Qs}), the mean is B y. On the training points B = I - e^{-Qs}.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .evolve import decay, gain, growth
from .gram import Gram, symmetric


def ensemble_mean(gram: Gram, s: Tensor | None, y: Tensor, cross: Tensor | None, step: float | None = None) -> Tensor:
    """Mean (T, M, O) for times s (T,), y (N, O) and cross (M, N) or None for the training points."""
    if cross is None:
        return _settled(gram, y.clone())[None] if s is None else growth(gram, s, y, step)
    return cross @ _respond(gram, s, y, step)


def gp_covariance(
    gram: Gram, s: Tensor | None, cross: Tensor | None, prior: Tensor | None, diagonal: bool, step: float | None = None
) -> Tensor:
    """K** - K* Q^-1 (I - e^{-2Qs}) K*^T for one time s (1,), (M, M) or its diagonal; training points: Q e^{-2Qs}."""
    if cross is None or prior is None:
        if s is None:
            return _settled(gram, torch.zeros_like(gram.matrix[0] if diagonal else gram.matrix))
        left = decay(gram, 2 * s, gram.matrix, step)[0]  # (N, N)
        return left.diagonal() if diagonal else symmetric(left)
    response = _respond(gram, None if s is None else 2 * s, cross.mT, step)[0]  # (N, M)
    if diagonal:
        return (prior - (cross * response.mT).sum(1)).clamp(min=0)
    return symmetric(prior - cross @ response)


def ntk_covariance(
    gram: Gram,
    nngp: Tensor,
    s: Tensor | None,
    cross: Tensor | None,
    nngp_cross: Tensor | None,
    prior: Tensor | None,
    diagonal: bool,
    step: float | None = None,
) -> Tensor:
    """K** + B K B^T - (B K*^T + its transpose) for one time s (1,), K being the NNGP and `cross` the NTK.

    On the training points e^{-Qs} K e^{-Qs}. Returns (M, M), or its diagonal.
    """
    if cross is None or nngp_cross is None or prior is None:
        if s is None:
            return _settled(gram, torch.zeros_like(nngp[0] if diagonal else nngp))
        left = decay(gram, s, decay(gram, s, nngp, step)[0].mT, step)[0]  # (N, N)
        return left.diagonal() if diagonal else symmetric(left)
    weights = _respond(gram, s, cross.mT, step)[0].mT  # B (M, N)
    if diagonal:
        return (prior + (weights * (weights @ nngp - 2 * nngp_cross)).sum(1)).clamp(min=0)
    return symmetric(prior + weights @ nngp @ weights.mT - 2 * weights @ nngp_cross.mT)


def _respond(gram: Gram, s: Tensor | None, v: Tensor, step: float | None) -> Tensor:
    """Q^-1 (I - e^{-Qs}) v for v (N, M): (T, N, M)."""
    return gram.solve(v)[None] if s is None else gain(gram, s, v, step)


def _settled(gram: Gram, value: Tensor) -> Tensor:
    """`value`, which training reaches at infinite time if the kernel is not singular: it is refused here if it is."""
    gram.cholesky  # noqa: B018  raises
    return value
