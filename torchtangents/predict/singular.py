"""Singular kernels: the error that names the remedy."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class SingularKernelError(ValueError):
    """The train-train kernel has no inverse; the message gives a `diag_reg` that was checked to work.

    smallest_eigenvalue is relative to the mean of the kernel's diagonal; diag_reg is None where none helps.
    """

    def __init__(self, message: str, smallest_eigenvalue: float, diag_reg: float | None):
        super().__init__(message)
        self.smallest_eigenvalue = smallest_eigenvalue
        self.diag_reg = diag_reg


def cutoff(k: Tensor, largest: float, dtype: torch.dtype) -> float:
    """The eigenvalue of `k` (N, N) that arithmetic cannot tell from zero: rounded to `dtype`, then solved in float64.

    Rounding moves each entry on its own, hence the spectrum by sqrt(N) eps; the solver moves it by N eps lambda_max.
    """
    n, scale = k.shape[0], k.diagonal().mean().item()
    return max(math.sqrt(n) * torch.finfo(dtype).eps * scale, n * torch.finfo(torch.float64).eps * largest)


def regularized(k: Tensor, diag_reg: float) -> Tensor:
    """K + diag_reg tr(K)/N I."""
    eye = torch.eye(k.shape[0], dtype=k.dtype, device=k.device)
    return k + diag_reg * (k.diagonal().mean() * eye)


def remedy(k: Tensor, dtype: torch.dtype, values: Tensor) -> float | None:
    """The least power of ten for `diag_reg` with which `k`, of eigenvalues `values`, is safely positive definite."""
    scale = k.diagonal().mean().item()
    if not scale > 0:
        return None
    floor = math.sqrt(torch.finfo(dtype).eps)
    exponent = math.ceil(math.log10(max(floor, -2 * values[0].item() / scale)))
    for power in range(exponent, exponent + 8):
        candidate = 10.0**power
        trial = regularized(k, candidate)
        found = torch.linalg.eigvalsh(trial)
        if found[0] > 10 * cutoff(trial, found[-1].item(), dtype):
            return candidate
    return None


def singular_error(k: Tensor, diag_reg: float, dtype: torch.dtype) -> SingularKernelError:
    """The error for a kernel `k` (N, N), float64 and without regulariser, that is singular even with `diag_reg`."""
    k = k.detach()
    scale = k.diagonal().mean().item()
    values = torch.linalg.eigvalsh(k)
    relative = values[0].item() / scale if scale > 0 else math.nan
    suggestion = remedy(k, dtype, values)
    given = f" with diag_reg={diag_reg:g}" if diag_reg else ""
    if suggestion is None:
        advice = f"its mean diagonal is {scale:.3g}, so no diag_reg helps: check the kernel"
    else:
        advice = f"duplicate inputs are the usual cause; pass diag_reg={suggestion:g}, with which it is positive definite"
    return SingularKernelError(
        f"k_train_train is singular{given}: its smallest eigenvalue is {relative:.3g} of its mean diagonal "
        f"({scale:.3g}), computed in {dtype}; {advice}.",
        relative,
        suggestion,
    )
