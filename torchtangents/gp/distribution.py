"""Means and covariances as distributions of GPyTorch."""

from __future__ import annotations

import torch
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator.operators import DiagLinearOperator, KroneckerProductLinearOperator, LinearOperator, to_linear_operator
from torch import Tensor


def as_gpytorch(mean: Tensor, covariance: Tensor | None, diagonal: bool | None = None) -> MultivariateNormal:
    """N(mean, covariance), with independent tasks of one covariance where outputs follow the inputs.

    mean is (*T, M) or (*T, M, O), covariance (*T, M, M) or, where `diagonal`, the variances (*T, M).

    Raises:
        ValueError: no covariance; shapes that do not fit; shapes that do not tell and `diagonal` is None.
    """
    if covariance is None:
        raise ValueError(
            "expected a prediction with a covariance to make a distribution of, got covariance=None; ask for "
            "covariance='full' or 'diagonal'"
        )
    tasks, diagonal = _read(mean.shape, covariance.shape, diagonal)
    operator = DiagLinearOperator(covariance) if diagonal else to_linear_operator(positive(covariance))
    if not tasks:
        return MultivariateNormal(mean, operator)
    return MultitaskMultivariateNormal(mean, _repeated(operator, mean.shape[-1]))


def _read(mean: torch.Size, covariance: torch.Size, diagonal: bool | None) -> tuple[bool, bool]:
    """Whether there is an axis of outputs, and whether the covariance is its diagonal."""
    readings = {
        (tasks, kind)
        for tasks in (False, True)
        for kind in (False, True)
        if diagonal in (None, kind) and _of(mean, tasks, kind) == covariance
    }
    if not readings:
        form = "(*T, M, M) or (*T, M)" if diagonal is None else "(*T, M)" if diagonal else "(*T, M, M)"
        raise ValueError(
            f"expected a covariance {form} of the mean's (*T, M) or (*T, M, O) {tuple(mean)}, got {tuple(covariance)}"
        )
    if len(readings) > 1:
        raise ValueError(
            f"mean and covariance are both {tuple(mean)}: variances at {mean[0]} times, or the covariance of {mean[-1]} outputs; "
            "expected diagonal=True or False to tell"
        )
    return readings.pop()


def _of(mean: torch.Size, tasks: bool, diagonal: bool) -> torch.Size | None:
    inputs = mean[:-1] if tasks else mean
    return None if not inputs else inputs if diagonal else torch.Size([*inputs, inputs[-1]])


def positive(covariance: Tensor) -> Tensor:
    """(*T, M, M) with the least eps 10^k max(mean variance, eps) on its diagonal that it has a Cholesky factor with, or 0."""
    with torch.no_grad():
        eps = torch.finfo(covariance.dtype).eps
        mean = covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=eps)  # (*T,)
        jitter = torch.zeros_like(mean)
        eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        for power in range(12):
            failed = torch.linalg.cholesky_ex(covariance + jitter[..., None, None] * eye).info > 0
            if not bool(failed.any()):
                break
            jitter = torch.where(failed, eps * 10**power * mean, jitter)
    return covariance + jitter[..., None, None] * eye if bool(jitter.any()) else covariance


def _repeated(operator: LinearOperator, outputs: int) -> LinearOperator:
    """The covariance of every input's outputs one after another: operator x I."""
    one = torch.ones(*operator.batch_shape, outputs, dtype=operator.dtype, device=operator.device)
    if isinstance(operator, DiagLinearOperator):
        return DiagLinearOperator(operator._diagonal().repeat_interleave(outputs, -1))
    return KroneckerProductLinearOperator(operator, DiagLinearOperator(one))
