"""Transposed convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .law import Law, RandomLayer, Scalar
from .layer import Layer


class _Transposed(RandomLayer, Layer):
    """The rule in any number of dimensions: zeros between the positions, pad, window, affine."""

    channel_dim = 1
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    weight: Tensor
    bias: Tensor | None

    @property
    def fan_in(self) -> int:
        """Channels times taps, also where a stride leaves fewer taps at each position."""
        return self.in_channels // self.groups * math.prod(self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw the weights and biases from the law."""
        self.law.draw(self.weight, self.bias, self.fan_in)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self._extra(tuple(input.shape[2:]), output_size)
        weight, bias = self.law.effective(self.weight, self.bias, self.fan_in)
        function = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[len(self.kernel_size)]
        return function(input, weight, bias, self.stride, self.padding, extra, self.groups, self.dilation)  # type: ignore[arg-type]

    def _extra(self, size: tuple[int, ...], output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output padding that gives the wanted size, as torch finds it."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-len(size) :]
        numbers = zip(size, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in numbers)
        extra = tuple(w - m for w, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(m + s - 1 for m, s in zip(least, self.stride, strict=True))
            raise ValueError(placed(f"expected an output size from {least} to {most}, got {wanted}"))
        return extra

    def propagate(self, k: State, output_size: Sequence[int] | None = None) -> State:
        if self.groups != 1:
            refuse(f"a convolution with groups={self.groups} has no Gaussian limit (few channels a group); expected groups=1")
        axes = k.images(len(self.kernel_size), self.in_channels)
        extra = self._extra(k.size, output_size)
        for i, axis in enumerate(axes):
            s, reach = self.stride[i], self.dilation[i] * (self.kernel_size[i] - 1)
            before = reach - self.padding[i]
            last = s * (k.size[axis] - 1) + before + extra[i]
            spread = (p // s if p % s == 0 else -1 for p in range(-before, last + 1))
            k = k.gather(axis, spread).window(axis, range(0, reach + 1, self.dilation[i]))
        taps = math.prod(self.kernel_size)
        return self.law.affine(k, self.fan_in, self.out_channels, self.bias is not None, taps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.law.describe()}"


class ConvTranspose1d(_Transposed, torch.nn.ConvTranspose1d):
    """A transposed convolution over sequences (N, C, L).

    K'(p, q) = w_std^2 / taps sum_k K(i, j) + b_std^2 over the taps k that reach p from a position i and q from j:
    p = stride i - padding + dilation k. The NTK as in `Linear`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding: as in torch, in its order.
        groups, bias, dilation, padding_mode, device, dtype: as in `torch.nn.ConvTranspose1d`.
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * kernel_size.

    Raises:
        ValueError: as `Linear`; an `output_size` that the stride cannot give.
        UnsupportedError: groups other than 1, when a kernel is asked for.

    Dumoulin and Visin 2016 (arXiv 1603.07285) for the map, Novak et al. 2019 (arXiv 1810.05148) for the kernel.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.ConvTranspose1d(2, 8, 3, stride=2), torch.nn.ReLU(), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(4, 2, 5)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int],
        stride: int | tuple[int] = 1,
        padding: int | tuple[int] = 0,
        output_padding: int | tuple[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int] = 1,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "ConvTranspose1d"))
        torch.nn.ConvTranspose1d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation,
            padding_mode, device, dtype,
        )  # fmt: skip


class ConvTranspose2d(_Transposed, torch.nn.ConvTranspose2d):
    """A transposed convolution over images (N, C, H, W).

    K'(p, q) = w_std^2 / taps sum_k K(i, j) + b_std^2 over the taps k that reach p from a position i and q from j:
    p = stride i - padding + dilation k. The NTK as in `Linear`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, output_padding: as in torch, in its order.
        groups, bias, dilation, padding_mode, device, dtype: as in `torch.nn.ConvTranspose2d`.
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * taps.

    Raises:
        ValueError: as `Linear`; an `output_size` that the stride cannot give.
        UnsupportedError: groups other than 1, when a kernel is asked for.

    Dumoulin and Visin 2016 (arXiv 1603.07285) for the map, Novak et al. 2019 (arXiv 1810.05148) for the kernel.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.ConvTranspose2d(2, 8, 2, stride=2), torch.nn.ReLU(), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(4, 2, 5, 5)).shape
        torch.Size([4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        output_padding: int | tuple[int, int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, int] = 1,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "ConvTranspose2d"))
        torch.nn.ConvTranspose2d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation,
            padding_mode, device, dtype,
        )  # fmt: skip
