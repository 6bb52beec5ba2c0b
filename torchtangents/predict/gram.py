"""The train-train kernel with its regulariser and noise, factored once."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .check import require_noise, require_scalar, require_square
from .extremes import extremes
from .persistence import require_entry
from .singular import JitterWarning, SingularKernelError, cutoff, raised, singular_error


class Diagonal(NamedTuple):
    """What is added to the diagonal of a kernel of N points, as it was asked for.

    diag_reg is a number or a 0-dim tensor, relative to the mean of the kernel's diagonal unless `absolute`; noise (N,)
    is one absolute variance a point; `jitter` allows more where the kernel is singular all the same.
    """

    diag_reg: float | Tensor = 0.0
    absolute: bool = False
    noise: Tensor | None = None
    jitter: bool = False

    @classmethod
    def restored(cls, options: dict[str, Any], tensors: dict[str, Tensor]) -> Diagonal:
        """From a state_dict: the inverse of `Gram.options` and `Gram.tensors`."""
        return cls(options["diag_reg"], options["diag_reg_absolute_scale"], tensors.get("noise"), options["jitter"])

    def checked(self, points: int, k: Tensor) -> Diagonal:
        """The same, checked: one variance for each of `points`, of the kernel's dtype."""
        noise = None if self.noise is None else require_noise(self.noise, points, k).double()
        for name, value in (("diag_reg_absolute_scale", self.absolute), ("jitter", self.jitter)):
            if not isinstance(value, bool):
                raise TypeError(f"{name}: expected True or False, got {value!r}.")
        return Diagonal(require_scalar("diag_reg", self.diag_reg), self.absolute, noise, self.jitter)


class Spectrum(NamedTuple):
    """Eigenvalues (R,), ascending, zero where arithmetic cannot tell them from it; eigenvectors (R, R); no gradient."""

    values: Tensor
    vectors: Tensor


class Gram:
    """K + diag_reg tr(K)/R I + noise in float64, with its Cholesky factor and its eigendecomposition, each computed once.

    R is the number of rows of the matrix: N training points, times the output axes that the kernel has.
    """

    def __init__(
        self, k: Tensor, diagonal: float | Tensor | Diagonal = 0.0, name: str = "k_train_train", points: int | None = None
    ):
        k = require_square(name, k)
        if not isinstance(diagonal, Diagonal):
            diagonal = Diagonal(diagonal)
        points = k.shape[0] if points is None else points
        self.dtype = k.dtype
        self.diagonal = diagonal.checked(points, k)
        self.jitter = 0.0  # what the Cholesky factor needed beyond `diagonal`, in units of the kernel
        self.plain = symmetric(k.double())  # (R, R)
        noise = self.diagonal.noise
        self._noise = None if noise is None else noise.repeat_interleave(k.shape[0] // points)  # (R,)
        scale = 1.0 if self.diagonal.absolute else self.plain.diagonal().mean()
        regulariser = torch.as_tensor(self.diagonal.diag_reg, dtype=torch.float64, device=k.device) * scale
        self.matrix = raised(self.plain, regulariser if self._noise is None else regulariser + self._noise)  # (R, R)

    @property
    def size(self) -> int:
        """R, the number of rows."""
        return self.matrix.shape[0]

    @cached_property
    def cholesky(self) -> Tensor:
        """The lower Cholesky factor (R, R), differentiable; a singular matrix is refused, or given jitter if allowed."""
        factor = self._factor(self.matrix)
        if factor is None and self.diagonal.jitter:
            factor = self._climb()
        if factor is None:
            raise self._singular()
        return factor

    def solve(self, b: Tensor) -> Tensor:
        """K^-1 b for b (R, M)."""
        return torch.cholesky_solve(b, self.cholesky)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The eigendecomposition; a matrix with eigenvalues below zero by more than rounding is refused."""
        values, vectors = torch.linalg.eigh(self.matrix.detach())
        if values[0].item() < -self._rounding():
            raise self._singular()
        kept = values > cutoff(self.matrix.detach(), values[-1].item(), self.dtype)
        return Spectrum(torch.where(kept, values, 0.0), vectors)

    def require_semidefinite(self) -> None:
        """Refuse a matrix with eigenvalues below zero by more than rounding, along which training runs away."""
        if self.__dict__.keys() & {"spectrum", "cholesky", "_semidefinite"}:
            return
        _, info = torch.linalg.cholesky_ex(raised(self.matrix.detach(), self._rounding()))
        if info.item():
            raise self._singular()
        self._semidefinite = True

    def options(self) -> dict[str, Any]:
        """Arguments of a predictor that made this matrix, and the jitter added: entries of a state_dict."""
        diag_reg, absolute, _, jitter = self.diagonal
        given = {"diag_reg": _number(diag_reg), "diag_reg_absolute_scale": absolute, "jitter": jitter}
        return given | {"jitter_added": self.jitter}

    def tensors(self) -> dict[str, Tensor]:
        """The noise, and the factors computed so far: entries of a state_dict."""
        noise = self.diagonal.noise
        found = {"factor.cholesky": self.__dict__.get("cholesky"), "noise": None if noise is None else noise.to(self.dtype)}
        if "spectrum" in self.__dict__:
            found |= {"factor.values": self.spectrum.values, "factor.vectors": self.spectrum.vectors}
        return {name: value for name, value in found.items() if value is not None}

    def adopt(self, state: dict[str, Tensor], jitter: float) -> None:
        """Take the factors in `state` for this matrix's own."""
        n = self.size
        if "factor.cholesky" in state:
            self.__dict__["cholesky"] = require_entry(state, "factor.cholesky", (n, n)).double()
            self.jitter = jitter
        if "factor.values" in state:
            values, vectors = (require_entry(state, f"factor.{p}", s) for p, s in (("values", (n,)), ("vectors", (n, n))))
            self.__dict__["spectrum"] = Spectrum(values.double(), vectors.double())

    def _rounding(self) -> float:
        """How far below zero an eigenvalue may be: the root of the dtype's rounding, relative to the largest."""
        return math.sqrt(torch.finfo(self.dtype).eps) * torch.linalg.matrix_norm(self.matrix.detach(), ord=1).item()

    def _singular(self) -> SingularKernelError:
        given = _number(self.diagonal.diag_reg)
        return singular_error(self.plain, self._noise, given, self.diagonal.absolute, self.dtype)

    def _climb(self) -> Tensor | None:
        """The factor with the first power of ten, from rounding to 1% of the mean diagonal, that makes the matrix definite."""
        scale = self.matrix.detach().diagonal().mean().item()
        if not scale > 0:
            return None
        lowest = math.ceil(math.log10(torch.finfo(self.dtype).eps))
        for power in range(lowest, -1):
            amount = 10.0**power * scale
            factor = self._factor(raised(self.matrix, amount))
            if factor is not None:
                self.jitter = amount
                message = f"k_train_train is singular: jitter of {amount:.3g}, {10.0**power:g} of its mean diagonal, was added."
                warnings.warn(message, JitterWarning, stacklevel=2)
                return factor
        return None

    def _factor(self, matrix: Tensor) -> Tensor | None:
        factor, info = torch.linalg.cholesky_ex(matrix)
        return None if info.item() or self._nearly_singular(matrix.detach(), factor.detach()) else factor

    def _nearly_singular(self, matrix: Tensor, factor: Tensor) -> bool:
        bound = torch.linalg.matrix_norm(matrix, ord=1).item()  # at least the largest eigenvalue
        if factor.diagonal().min().square().item() > self.size * cutoff(matrix, bound, self.dtype):
            return False
        least, largest = extremes(matrix, factor)
        return least <= cutoff(matrix, largest, self.dtype)


def symmetric(k: Tensor) -> Tensor:
    """(K + K^T) / 2, which rounding makes symmetric to the last bit."""
    return (k + k.mT) / 2


def _number(value: float | Tensor) -> float:
    """The number, without its gradient."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)
