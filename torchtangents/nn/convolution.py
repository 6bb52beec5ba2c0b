"""Convolutional layers."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..covariance.masks import windowed
from ..covariance.refusal import refuse
from ..covariance.state import State
from .law import Law, RandomLayer, Scalar
from .layer import Layer


class _Convolution(RandomLayer, Layer):
    """The rule of a convolution in any number of dimensions: pad, window, affine."""

    channel_dim = 1
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    weight: Tensor
    bias: Tensor | None

    @property
    def fan_in(self) -> int:
        """Number of inputs of one output: channels times taps."""
        return self.in_channels // self.groups * math.prod(self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw the weights and biases from the law."""
        self.law.draw(self.weight, self.bias, self.fan_in)

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.law.effective(self.weight, self.bias, self.fan_in)
        return self._conv_forward(input, weight, bias)  # type: ignore[attr-defined]

    def _pads(self, axis: int) -> tuple[int, int]:
        if self.padding == "valid":
            return 0, 0
        if self.padding == "same":
            total = self.dilation[axis] * (self.kernel_size[axis] - 1)
            return total // 2, total - total // 2
        return (int(self.padding[axis]),) * 2  # type: ignore[return-value]

    def propagate(self, k: State) -> State:
        return self._rule(k, self.in_channels)

    def _rule(self, k: State, channels: int) -> State:
        if self.groups != 1:
            refuse(f"a convolution with groups={self.groups} has no Gaussian limit (few channels a group); expected groups=1")
        axes = k.images(len(self.kernel_size), channels)
        mask, k = k.mask, k.masked()
        for i, axis in enumerate(axes):
            offsets = range(0, self.dilation[i] * self.kernel_size[i], self.dilation[i])
            k = k.pad(axis, *self._pads(i), mode=self.padding_mode).window(axis, offsets, self.stride[i])
            if mask is not None:
                mask = windowed(mask, axis, k.size[axis], offsets[-1], self.stride[i], *self._pads(i))
        k = replace(k, mask=mask)
        taps = math.prod(self.kernel_size)
        return self.law.affine(k, channels * taps, self.out_channels, self.bias is not None, taps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.law.describe()}"


class Conv1d(_Convolution, torch.nn.Conv1d):
    """A convolution over sequences (N, C, L).

    K'(p, q) = w_std^2 mean_k K(s p + k, s q + k) + b_std^2 with k over the taps; the NTK as in `Linear`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in `torch.nn.Conv1d`; padding may be "same" or "valid".
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * kernel_size.

    Raises:
        ValueError: as `Linear`.
        UnsupportedError: groups other than 1, when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148); Garriga-Alonso et al. 2019 (arXiv 1808.05587).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv1d(2, 8, 3, padding=1), torch.nn.ReLU(), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(4, 2, 10)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: str | int | tuple[int] = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "Conv1d"))
        torch.nn.Conv1d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )


class Conv2d(_Convolution, torch.nn.Conv2d):
    """A convolution over images (N, C, H, W).

    K'(p, q) = w_std^2 mean_k K(s p + k, s q + k) + b_std^2 with k over the taps; the NTK as in `Linear`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in `torch.nn.Conv2d`; padding may be "same" or "valid".
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * taps.

    Raises:
        ValueError: as `Linear`.
        UnsupportedError: groups other than 1, when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148); Arora et al. 2019 (arXiv 1904.11955).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv2d(3, 8, 3), tt.nn.ReLU(), torch.nn.Flatten(), tt.nn.Linear(8 * 36, 1))
        >>> tt.ntk(net, torch.randn(4, 3, 8, 8)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "Conv2d"))
        torch.nn.Conv2d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )


class Conv3d(_Convolution, torch.nn.Conv3d):
    """A convolution over volumes (N, C, D, H, W).

    K'(p, q) = w_std^2 mean_k K(s p + k, s q + k) + b_std^2 with k over the taps; the NTK as in `Linear`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype:
            as in `torch.nn.Conv3d`; padding may be "same" or "valid".
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * taps.

    Raises:
        ValueError: as `Linear`.
        UnsupportedError: groups other than 1, when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148); Arora et al. 2019 (arXiv 1904.11955).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv3d(1, 8, 2), tt.nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(8, 1))
        >>> tt.ntk(net, torch.randn(4, 1, 3, 4, 3)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: str | int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "Conv3d"))
        torch.nn.Conv3d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
