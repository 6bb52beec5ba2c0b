"""Pooling layers: sums and means over positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.pooling import Number, adaptive, each, pool
from ..covariance.refusal import refuse
from ..covariance.state import State
from .layer import Layer


class _AvgPool(Layer):
    """The rule of an average pool in any number of dimensions."""

    kernel_size: Number
    stride: Number | None
    padding: Number
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None = None

    def _rule(self, k: State, n: int) -> State:
        if self.divisor_override:
            k = pool(k, n, self.kernel_size, self.stride, self.padding, self.ceil_mode, average=False)
            return k * (1 / self.divisor_override)
        return pool(k, n, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool1d(_AvgPool, torch.nn.AvgPool1d):
    """The mean over windows of a sequence (N, C, L): K' = A K A^T.

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad: as in `torch.nn.AvgPool1d`.

    Raises:
        ValueError: fewer positions than a window holds.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv1d(2, 8, 3), tt.nn.AvgPool1d(2), torch.nn.Flatten(), tt.nn.Linear(32, 1))
        >>> tt.nngp(net, torch.randn(3, 2, 10)).shape
        torch.Size([3, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.AvgPool1d.forward(self, input)  # type: ignore[arg-type]

    def propagate(self, k: State) -> State:
        return self._rule(k, 1)


class AvgPool2d(_AvgPool, torch.nn.AvgPool2d):
    """The mean over windows of an image (N, C, H, W): K' = A K A^T.

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: as in `torch.nn.AvgPool2d`.

    Raises:
        ValueError: fewer positions than a window holds.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv2d(1, 8, 3), tt.nn.AvgPool2d(2), torch.nn.Flatten(), tt.nn.Linear(72, 1))
        >>> tt.nngp(net, torch.randn(3, 1, 8, 8)).shape
        torch.Size([3, 3])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.AvgPool2d.forward(self, input)  # type: ignore[arg-type]

    def propagate(self, k: State) -> State:
        return self._rule(k, 2)


class AvgPool3d(_AvgPool, torch.nn.AvgPool3d):
    """The mean over windows of a volume (N, C, D, H, W): K' = A K A^T.

    Args:
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: as in `torch.nn.AvgPool3d`.

    Raises:
        ValueError: fewer positions than a window holds.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.AvgPool3d(2)(torch.ones(1, 1, 2, 2, 2)).flatten()
        tensor([1.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.AvgPool3d.forward(self, input)  # type: ignore[arg-type]

    def propagate(self, k: State) -> State:
        return self._rule(k, 3)


class _SumPool(Layer):
    """Sums over windows: `torch.nn` has no counterpart."""

    n = 0

    def __init__(self, kernel_size: Number, stride: Number | None = None, padding: Number = 0):
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, input: Tensor) -> Tensor:
        mean = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[self.n]
        taps = 1
        for w in each(self.kernel_size, self.n):
            taps *= w
        return mean(input, self.kernel_size, self.stride, self.padding) * taps  # type: ignore[operator]

    def propagate(self, k: State) -> State:
        return pool(k, self.n, self.kernel_size, self.stride, self.padding, average=False)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride or self.kernel_size}, padding={self.padding}"


class SumPool1d(_SumPool):
    """The sum over windows of a sequence (N, C, L): K' = A K A^T with rows of ones.

    Args:
        kernel_size, stride, padding: as in `torch.nn.AvgPool1d`; the stride is the window by default.

    Raises:
        ValueError: fewer positions than a window holds.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SumPool1d(2)(torch.ones(1, 1, 4))
        tensor([[[2., 2.]]])
    """

    n = 1


class SumPool2d(_SumPool):
    """The sum over windows of an image (N, C, H, W): K' = A K A^T with rows of ones.

    Args:
        kernel_size, stride, padding: as in `torch.nn.AvgPool2d`; the stride is the window by default.

    Raises:
        ValueError: fewer positions than a window holds.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SumPool2d(2)(torch.ones(1, 1, 2, 2))
        tensor([[[[4.]]]])
    """

    n = 2


class SumPool3d(_SumPool):
    """The sum over windows of a volume (N, C, D, H, W): K' = A K A^T with rows of ones.

    Args:
        kernel_size, stride, padding: as in `torch.nn.AvgPool3d`; the stride is the window by default.

    Raises:
        ValueError: fewer positions than a window holds.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.SumPool3d(2)(torch.ones(1, 1, 2, 2, 2)).flatten()
        tensor([8.])
    """

    n = 3


class _Global(Layer):
    average = True

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim < 3:
            raise ValueError(f"expected (N, C, positions ..), got {tuple(input.shape)}")
        dims = tuple(range(2, input.ndim))
        return input.mean(dims) if self.average else input.sum(dims)

    def propagate(self, k: State) -> State:
        if k.layout[0] != (-1,) or len(k.layout) < 2:
            refuse(f"expected (N, C, positions ..) with channels on axis 1, got {(-1, *k.shape)}")
        k = k.totals(tuple(k.spatial(dim) for dim in range(1, len(k.layout))), self.average)
        return k.squeeze(tuple(range(1, len(k.layout))))


class GlobalAvgPool(_Global):
    """The mean over all positions: (N, C, *S) -> (N, C), K' = mean over (p, q) of K(p, q).

    Raises:
        UnsupportedError: a value without positions, or with channels elsewhere than on axis 1.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.GlobalAvgPool()(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """


class GlobalSumPool(_Global):
    """The sum over all positions: (N, C, *S) -> (N, C), K' = sum over (p, q) of K(p, q).

    Raises:
        UnsupportedError: a value without positions, or with channels elsewhere than on axis 1.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.GlobalSumPool()(torch.ones(1, 1, 4, 4))
        tensor([[16.]])
    """

    average = False


class _AdaptiveAvgPool(Layer):
    """The mean over bins [floor(i S / O), ceil((i + 1) S / O)), which overlap where O does not divide S."""

    n = 0
    output_size: int | tuple[int | None, ...]

    def propagate(self, k: State) -> State:
        size = self.output_size
        return adaptive(k, self.n, tuple(size) if isinstance(size, (tuple, list)) else (size,) * self.n)


class AdaptiveAvgPool1d(_AdaptiveAvgPool, torch.nn.AdaptiveAvgPool1d):
    """The mean over bins that leave `output_size` positions: K' = A K A^T. Bins overlap where it does not divide the size.

    Args:
        output_size: as in `torch.nn.AdaptiveAvgPool1d`: one number.

    Raises:
        UnsupportedError: channels on an axis that is pooled, when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.AdaptiveAvgPool1d(3)(torch.ones(2, 3, 4)).shape
        torch.Size([2, 3, 3])
    """

    n = 1

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.AdaptiveAvgPool1d.forward(self, input)


class AdaptiveAvgPool2d(_AdaptiveAvgPool, torch.nn.AdaptiveAvgPool2d):
    """The mean over bins that leave `output_size` positions: K' = A K A^T. Bins overlap where it does not divide the size.

    Args:
        output_size: as in `torch.nn.AdaptiveAvgPool2d`: one number, or one for each axis (None keeps the axis).

    Raises:
        UnsupportedError: channels on an axis that is pooled, when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.AdaptiveAvgPool2d(3)(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3, 3, 3])
    """

    n = 2

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.AdaptiveAvgPool2d.forward(self, input)


class AdaptiveAvgPool3d(_AdaptiveAvgPool, torch.nn.AdaptiveAvgPool3d):
    """The mean over bins that leave `output_size` positions: K' = A K A^T. Bins overlap where it does not divide the size.

    Args:
        output_size: as in `torch.nn.AdaptiveAvgPool3d`: one number, or one for each axis (None keeps the axis).

    Raises:
        UnsupportedError: channels on an axis that is pooled, when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nn.AdaptiveAvgPool3d(3)(torch.ones(2, 3, 4, 4, 4)).shape
        torch.Size([2, 3, 3, 3, 3])
    """

    n = 3

    def forward(self, input: Tensor) -> Tensor:
        return torch.nn.AdaptiveAvgPool3d.forward(self, input)
