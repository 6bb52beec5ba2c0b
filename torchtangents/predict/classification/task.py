"""What a method of classification learns from."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..check import require_choice

KERNELS = ("ntk", "nngp")


class Task:
    """Training inputs with their classes, and the kernel of a network between any inputs.

    Args:
        net: the network; a method does not train it.
        kernel: "ntk" or "nngp".
        x: training inputs (N, *input_shape).
        labels: (N,) integers in 0 .. classes - 1, each of which occurs.
        classes: C.
        seed: of everything that a method draws.
        options: tile, progress and backend of `torchtangents.kernels`.

    Raises:
        ValueError: an unknown kernel; a network that leaves positions or whose outputs are not Gaussian.
        UnsupportedError: the network has no kernel.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.predict.classification import Task
        >>> task = Task(tt.nn.Linear(2, 1, b_std=0.), "nngp", torch.eye(2), torch.tensor([0, 1]), 2)
        >>> task.train, task.one_hot
        (tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]]), tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64))
    """

    def __init__(
        self,
        net: nn.Module,
        kernel: str,
        x: Tensor,
        labels: Tensor,
        classes: int,
        seed: int = 0,
        options: dict[str, Any] | None = None,
    ):
        from ...kernels import require_gaussian_output

        require_choice("kernel", kernel, KERNELS)
        require_gaussian_output(net, x)
        self.net, self.kernel, self.x = net, kernel, x
        self.labels, self.classes, self.seed = labels, classes, seed
        self.options = options or {}

    @cached_property
    def train(self) -> Tensor:
        """The kernel of the training points (N, N)."""
        return self._between(self.x)

    @property
    def one_hot(self) -> Tensor:
        """(N, C) in float64."""
        return torch.nn.functional.one_hot(self.labels, self.classes).double()

    def cross(self, x: Tensor) -> Tensor:
        """The kernel of test and training points (M, N), in float64."""
        return self._between(x, self.x).double()

    def variances(self, x: Tensor) -> Tensor:
        """The kernel of each test point with itself (M,), in float64."""
        return self._between(x, diagonal=True).double()

    def _between(self, *x: Tensor, diagonal: bool = False) -> Tensor:
        from ...kernels import nngp, ntk

        return (nngp if self.kernel == "nngp" else ntk)(self.net, *x, diagonal=diagonal, **self.options).detach()
