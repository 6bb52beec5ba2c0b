"""Padding layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..covariance.state import State
from .layer import Layer


def padded(k: State, pads: Sequence[int], mode: str = "zeros") -> State:
    """Pad the last axes, given as in `F.pad`: the last axis first, (before, after) each."""
    for i in range(len(pads) // 2):
        before, after = pads[2 * i], pads[2 * i + 1]
        if before or after:
            k = k.pad(k.spatial(len(k.layout) - 1 - i), before, after, mode)
    return k


class _ZeroPad(Layer):
    padding: tuple[int, ...]

    def propagate(self, k: State) -> State:
        return padded(k, self.padding)


class _CircularPad(Layer):
    padding: tuple[int, ...]

    def propagate(self, k: State) -> State:
        return padded(k, self.padding, "circular")


class _ReflectionPad(Layer):
    padding: tuple[int, ...]

    def propagate(self, k: State) -> State:
        return padded(k, self.padding, "reflect")


class _ReplicationPad(Layer):
    padding: tuple[int, ...]

    def propagate(self, k: State) -> State:
        return padded(k, self.padding, "replicate")


class ZeroPad1d(_ZeroPad, torch.nn.ZeroPad1d):
    """Zeros before and after each sequence: their covariance with anything is 0.

    Args:
        padding: as in `torch.nn.ZeroPad1d`.

    Raises:
        ValueError: padding that leaves no position, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ZeroPad1d(1)(torch.ones(1, 1, 2))
        tensor([[[0., 1., 1., 0.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ZeroPad1d.forward(self, input)


class ZeroPad2d(_ZeroPad, torch.nn.ZeroPad2d):
    """Zeros around each image: their covariance with anything is 0.

    Args:
        padding: as in `torch.nn.ZeroPad2d`: a number, or (left, right, top, bottom).

    Raises:
        ValueError: padding that leaves no position, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ZeroPad2d((1, 0, 0, 0))(torch.ones(1, 1, 1, 2))
        tensor([[[[0., 1., 1.]]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ZeroPad2d.forward(self, input)


class CircularPad1d(_CircularPad, torch.nn.CircularPad1d):
    """The sequence repeated before and after. K' = A K A^T with rows that repeat.

    Args:
        padding: as in `torch.nn.CircularPad1d`.

    Raises:
        ValueError: padding that leaves no position, or repeats more positions than there are, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.CircularPad1d(1)(torch.arange(3.).reshape(1, 1, 3))
        tensor([[[2., 0., 1., 2., 0.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.CircularPad1d.forward(self, input)


class CircularPad2d(_CircularPad, torch.nn.CircularPad2d):
    """The image repeated around itself. K' = A K A^T with rows that repeat.

    Args:
        padding: as in `torch.nn.CircularPad2d`: a number, or (left, right, top, bottom).

    Raises:
        ValueError: padding that leaves no position, or repeats more positions than there are, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.CircularPad2d((1, 1, 0, 0))(torch.arange(2.).reshape(1, 1, 1, 2))
        tensor([[[[1., 0., 1., 0.]]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.CircularPad2d.forward(self, input)


class ZeroPad3d(_ZeroPad, torch.nn.ZeroPad3d):
    """Zeros around each volume: their covariance with anything is 0.

    Args:
        padding: as in `torch.nn.ZeroPad3d`: a number, or (left, right, top, bottom, front, back).

    Raises:
        ValueError: padding that leaves no position, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ZeroPad3d(1)(torch.ones(1, 1, 1, 1, 1)).sum()
        tensor(1.)
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ZeroPad3d.forward(self, input)


class CircularPad3d(_CircularPad, torch.nn.CircularPad3d):
    """The volume repeated around itself. K' = A K A^T with rows that repeat.

    Args:
        padding: as in `torch.nn.CircularPad3d`: a number, or (left, right, top, bottom, front, back).

    Raises:
        ValueError: padding that leaves no position, or repeats more positions than there are, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.CircularPad3d((1, 1, 0, 0, 0, 0))(torch.arange(2.).reshape(1, 1, 1, 1, 2)).flatten()
        tensor([1., 0., 1., 0.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.CircularPad3d.forward(self, input)


class ReflectionPad1d(_ReflectionPad, torch.nn.ReflectionPad1d):
    """The sequence mirrored at its first and last position, which are not repeated. K' = A K A^T with rows that mirror.

    Args:
        padding: as in `torch.nn.ReflectionPad1d`.

    Raises:
        ValueError: padding that leaves no position, or mirrors more positions than there are, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ReflectionPad1d(1)(torch.arange(3.).reshape(1, 1, 3))
        tensor([[[1., 0., 1., 2., 1.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ReflectionPad1d.forward(self, input)


class ReflectionPad2d(_ReflectionPad, torch.nn.ReflectionPad2d):
    """The image mirrored at its edges, which are not repeated. K' = A K A^T with rows that mirror.

    Args:
        padding: as in `torch.nn.ReflectionPad2d`: a number, or (left, right, top, bottom).

    Raises:
        ValueError: padding that leaves no position, or mirrors more positions than there are, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ReflectionPad2d((1, 1, 0, 0))(torch.arange(2.).reshape(1, 1, 1, 2))
        tensor([[[[1., 0., 1., 0.]]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ReflectionPad2d.forward(self, input)


class ReplicationPad1d(_ReplicationPad, torch.nn.ReplicationPad1d):
    """The first and last position of the sequence repeated. K' = A K A^T with rows that repeat the last.

    Args:
        padding: as in `torch.nn.ReplicationPad1d`.

    Raises:
        ValueError: padding that leaves no position, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ReplicationPad1d(1)(torch.arange(3.).reshape(1, 1, 3))
        tensor([[[0., 0., 1., 2., 2.]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ReplicationPad1d.forward(self, input)


class ReplicationPad2d(_ReplicationPad, torch.nn.ReplicationPad2d):
    """The edges of the image repeated. K' = A K A^T with rows that repeat the last.

    Args:
        padding: as in `torch.nn.ReplicationPad2d`: a number, or (left, right, top, bottom).

    Raises:
        ValueError: padding that leaves no position, when a kernel is asked for.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.ReplicationPad2d((1, 1, 0, 0))(torch.arange(2.).reshape(1, 1, 1, 2))
        tensor([[[[0., 0., 1., 1.]]]])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.ReplicationPad2d.forward(self, input)
