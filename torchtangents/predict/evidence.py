"""How well a kernel explains the targets: marginal likelihood and leave-one-out, differentiable in the kernel."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .posterior import Posterior

OBJECTIVES = ("evidence", "leave_one_out")


def log_marginal_likelihood(k: Tensor, y: Tensor, diag_reg: float | Tensor = 0.0) -> Tensor:
    """The evidence log N(y; 0, Q), summed over outputs, with Q = k + diag_reg tr(k)/N I: a differentiable 0-dim tensor.

    -1/2 y^T Q^-1 y - 1/2 log det Q - N/2 log 2 pi.

    Args:
        k: (N, N) kernel of the training points with themselves.
        y: (N,) or (N, O) targets, of the kernel's dtype.
        diag_reg: variance of the noise relative to the mean of k's diagonal, a number or 0-dim tensor.

    Raises:
        SingularKernelError: Q has no inverse; names a `diag_reg` that works.
        TypeError, ValueError: as `Posterior`.

    Rasmussen and Williams 2006, equation 2.30.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.predict.log_marginal_likelihood(torch.eye(2), torch.zeros(2), diag_reg=1.)
        tensor(-2.5310)
    """
    return Posterior(k, y, diag_reg=diag_reg).log_marginal_likelihood()


def leave_one_out_log_density(k: Tensor, y: Tensor, diag_reg: float | Tensor = 0.0) -> Tensor:
    """The log density of each target predicted from all the others, summed: a differentiable 0-dim tensor.

    sum_i log N(y_i; mean_i, variance_i), noise included, in closed form from one Cholesky factor.

    Args:
        k, y, diag_reg: as in `log_marginal_likelihood`.

    Raises:
        SingularKernelError, TypeError, ValueError: as `log_marginal_likelihood`.

    Rasmussen and Williams 2006, equations 5.10 to 5.12; Sundararajan and Keerthi 2001.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.predict.leave_one_out_log_density(torch.eye(2), torch.zeros(2), diag_reg=1.)
        tensor(-2.5310)
    """
    posterior = Posterior(k, y, diag_reg=diag_reg)
    density, _ = _left_out(posterior, y)
    return density.to(k.dtype)


class Scaled(NamedTuple):
    """The largest log density that the kernel c k reaches, and that c."""

    density: Tensor
    scale: Tensor


def log_density(k: Tensor, y: Tensor, diag_reg: float | Tensor, objective: str) -> Tensor:
    """The one of the two above that `objective` names."""
    return (log_marginal_likelihood if objective == "evidence" else leave_one_out_log_density)(k, y, diag_reg)


def best_scale(k: Tensor, y: Tensor, diag_reg: float | Tensor, objective: str) -> Scaled:
    """`objective` of c k at its maximum over c > 0, in closed form.

    As diag_reg is relative, Q scales with c: means stay, and the density is d(c) = d(1) + (q - q/c - n log c) / 2 with n = y.size
    and q the sum of squared, whitened errors: y^T Q^-1 y, or the errors of leave-one-out in units of their variance. So c = q/n.

    Raises:
        ValueError: all targets are zero, which no scale is too small for.
    """
    posterior = Posterior(k, y, diag_reg=diag_reg)
    if objective == "evidence":
        rows = y.double().reshape(len(y), -1)
        density, square = posterior.log_marginal_likelihood(), (rows * posterior.gram.solve(rows)).sum()
    else:
        density, square = _left_out(posterior, y)
    if not square.item() > 0:
        raise ValueError("y_train: expected targets that are not all predicted exactly, got zeros; nothing is to be fitted.")
    n = y.numel()
    return Scaled(density + 0.5 * (square - n - n * torch.log(square / n)), square / n)


def _left_out(posterior: Posterior, y: Tensor) -> tuple[Tensor, Tensor]:
    """Log density of all targets left out one at a time, and the sum of their squared errors in units of the variance."""
    mean, variance = posterior.leave_one_out()
    assert variance is not None
    error, variance = (y - mean).double().reshape(len(y), -1), variance.double()
    square = (error.square() / variance[:, None]).sum()
    return -0.5 * (square + error.shape[1] * variance.log().sum() + y.numel() * math.log(2 * math.pi)), square
