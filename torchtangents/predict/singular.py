"""Singular kernels: the error that names the remedy, and the jitter that is added where it was asked for."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class SingularKernelError(ValueError):
    """The train-train kernel has no inverse; the message gives a `diag_reg` that was checked to work.

    Attributes:
        smallest_eigenvalue: relative to the mean of the kernel's diagonal.
        diag_reg: what helps, in the unit in which it was given; None where none does.

    Example:
        >>> import torch, torchtangents as tt
        >>> try:
        ...     tt.predict.Posterior(torch.ones(2, 2), torch.tensor([0., 1.])).at(torch.ones(1, 2), torch.ones(1))
        ... except tt.predict.SingularKernelError as error:
        ...     print(error.diag_reg)
        0.001
    """

    def __init__(self, message: str, smallest_eigenvalue: float, diag_reg: float | None):
        super().__init__(message)
        self.smallest_eigenvalue = smallest_eigenvalue
        self.diag_reg = diag_reg


class JitterWarning(RuntimeWarning):
    """A singular kernel was made positive definite by a number on its diagonal, which the message gives.

    Example:
        >>> import torch, torchtangents as tt, warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     mean = tt.predict.Posterior(torch.ones(2, 2), torch.ones(2), jitter=True).at(torch.ones(1, 2)).mean
        >>> caught[0].category.__name__
        'JitterWarning'
    """


def cutoff(k: Tensor, largest: float, dtype: torch.dtype) -> float:
    """The eigenvalue of `k` (N, N) that arithmetic cannot tell from zero: rounded to `dtype`, then solved in float64."""
    return resolution(k.shape[0], k.diagonal().mean().item(), largest, dtype)


def resolution(n: int, scale: float, largest: float, dtype: torch.dtype) -> float:
    """`cutoff` of a matrix of n rows with mean diagonal `scale`.

    Rounding moves each entry on its own, hence the spectrum by sqrt(N) eps; the solver moves it by N eps lambda_max.
    """
    return max(math.sqrt(n) * torch.finfo(dtype).eps * scale, n * torch.finfo(torch.float64).eps * largest)


def raised(k: Tensor, amount: float | Tensor) -> Tensor:
    """`k` with `amount`, a number or (N,), added to its diagonal."""
    diagonal = torch.as_tensor(amount, dtype=k.dtype, device=k.device).expand(k.shape[0])
    return k + torch.diag(diagonal)


class Ends(NamedTuple):
    """Of a matrix of `rows` rows: its smallest and its largest eigenvalue, and the mean of its diagonal."""

    rows: int
    least: float
    largest: float
    scale: float

    def resolution(self, dtype: torch.dtype, amount: float = 0.0) -> float:
        """`cutoff` of the matrix with `amount` added to its diagonal."""
        return resolution(self.rows, self.scale + amount, self.largest + amount, dtype)


def remedy(ends: Ends, dtype: torch.dtype) -> float | None:
    """The least power of ten, relative to the mean diagonal, that makes all eigenvalues safely positive."""
    if not ends.scale > 0:
        return None
    floor = math.sqrt(torch.finfo(dtype).eps)
    exponent = math.ceil(math.log10(max(floor, -2 * ends.least / ends.scale)))
    for power in range(exponent, exponent + 8):
        candidate = 10.0**power
        amount = candidate * ends.scale
        if ends.least + amount > 10 * ends.resolution(dtype, amount):
            return candidate
    return None


def singular_error(k: Tensor, noise: Tensor | None, given: float, absolute: bool, dtype: torch.dtype) -> SingularKernelError:
    """The error for a kernel `k` (R, R), float64, that is singular even with `noise` (R,) and the regulariser `given`."""
    k = k.detach() if noise is None else raised(k.detach(), noise.detach())
    values = torch.linalg.eigvalsh(k)
    ends = Ends(k.shape[0], values[0].item(), values[-1].item(), k.diagonal().mean().item())
    return ends_error(ends, given, absolute, dtype)


def ends_error(
    ends: Ends, given: float, absolute: bool, dtype: torch.dtype, alternative: str = ", or jitter=True"
) -> SingularKernelError:
    """The same from the ends of the kernel's spectrum."""
    scale = ends.scale
    relative = ends.least / scale if scale > 0 else math.nan
    suggestion = remedy(ends, dtype)
    if suggestion is not None and absolute:
        suggestion *= scale
    indefinite = ends.least < -ends.resolution(dtype)
    kind = "indefinite, so it is no kernel to this accuracy, and singular" if indefinite else "singular"
    cause = "rounding or a wrong matrix is the usual cause" if indefinite else "duplicate inputs are the usual cause"
    if suggestion is None:
        advice = f"its mean diagonal is {scale:.3g}, so no diag_reg helps: check the kernel"
    else:
        advice = f"{cause}; pass diag_reg={suggestion:g}, with which it is positive definite{alternative}"
    return SingularKernelError(
        f"k_train_train is {kind}{f' with diag_reg={given:g}' if given else ''}: its smallest eigenvalue is "
        f"{relative:.3g} of its mean diagonal ({scale:.3g}), computed in {dtype}; {advice}.",
        relative,
        suggestion,
    )
