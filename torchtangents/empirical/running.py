"""Running mean and standard error of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import torch
from torch import Tensor


class Running:
    """Mean and standard error of what was added, in float64, without keeping it.

    Welford 1962 (Technometrics 4(3), 419-420).

    Example:
        >>> import torch
        >>> from torchtangents.empirical.running import Running
        >>> running = Running()
        >>> for number in (1., 3.):
        ...     running.add(torch.tensor(number))
        >>> running.mean, running.error()
        (tensor(2., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64, device="cpu")
        self._squares = torch.zeros((), dtype=torch.float64, device="cpu")

    def add(self, value: Tensor) -> None:
        """One more value, of the shape of the others."""
        value = value.detach().double()
        self.count += 1
        gap = value - self.mean.to(value.device)
        self.mean = self.mean.to(value.device) + gap / self.count
        self._squares = self._squares.to(value.device) + gap * (value - self.mean)

    def error(self) -> Tensor:
        """The standard error of the mean, from two values on."""
        if self.count < 2:
            raise ValueError(f"expected two values or more for a standard error, got {self.count}")
        return (self._squares / (self.count - 1) / self.count).sqrt()


def counts(n_samples: int | Iterable[int]) -> list[int]:
    """Checked numbers of samples at which an estimate is wanted.

    Raises:
        ValueError: a count below 2, or counts that do not increase.
    """
    wanted = list(n_samples) if isinstance(n_samples, Iterable) else [n_samples]
    if not wanted or any(not isinstance(n, int) or isinstance(n, bool) or n < 2 for n in wanted):
        raise ValueError(f"n_samples: expected an integer >= 2, or several, since a standard error needs two; got {n_samples!r}")
    if any(b <= a for a, b in itertools.pairwise(wanted)):
        raise ValueError(f"n_samples: expected counts that increase, got {wanted}")
    return wanted
