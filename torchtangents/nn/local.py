"""Convolutions whose weights are not shared."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.pooling import Number, each
from ..covariance.refusal import placed
from ..covariance.state import State
from .law import Law, RandomLayer, Scalar
from .layer import Layer


class _Local(RandomLayer, Layer):
    """The rule in any number of dimensions: pad, window, affine, diagonal."""

    channel_dim = 1
    n = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Number,
        stride: Number = 1,
        padding: Number = 0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        input_size: Number,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        name = type(self).__name__
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, name))
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding, self.input_size = (
            each(v, self.n) for v in (kernel_size, stride, padding, input_size)
        )
        numbers = zip(self.input_size, self.padding, self.kernel_size, self.stride, strict=True)
        self.output_size = tuple((m + 2 * p - k) // s + 1 for m, p, k, s in numbers)
        if min(self.output_size) < 1:
            raise ValueError(f"{name}: expected input_size to hold a window of {self.kernel_size}, got {self.input_size}")
        options = {"device": device, "dtype": dtype}
        self.weight = torch.nn.Parameter(
            torch.empty(out_channels, in_channels, *self.kernel_size, *self.output_size, **options)  # type: ignore[arg-type]
        )
        if bias:
            self.bias = torch.nn.Parameter(torch.empty(out_channels, *self.output_size, **options))  # type: ignore[arg-type]
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    @property
    def fan_in(self) -> int:
        """Number of inputs of one output: channels times taps."""
        return self.in_channels * math.prod(self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw the weights and biases from the law."""
        self.law.draw(self.weight, self.bias, self.fan_in)

    def forward(self, input: Tensor) -> Tensor:
        if tuple(input.shape[1:]) != (self.in_channels, *self.input_size):
            raise ValueError(
                f"{type(self).__name__}: expected (N, {self.in_channels}, *{self.input_size}), got {tuple(input.shape)}"
            )
        x = F.pad(input, [p for p in reversed(self.padding) for _ in range(2)])
        for i in range(self.n):
            x = x.unfold(2 + i, self.kernel_size[i], self.stride[i])
        x = x.movedim(tuple(range(2 + self.n, 2 + 2 * self.n)), tuple(range(2, 2 + self.n)))  # (N, C, *taps, *positions)
        weight, bias = self.law.effective(self.weight, self.bias, self.fan_in)
        out = torch.einsum("nfp,ofp->nop", x.flatten(1 + self.n + 1).flatten(1, -2), weight.flatten(2 + self.n).flatten(1, -2))
        out = out.unflatten(-1, self.output_size)
        return out if bias is None else out + bias

    def propagate(self, k: State) -> State:
        axes = k.images(self.n, self.in_channels)
        if k.size != self.input_size:
            raise ValueError(placed(f"expected positions {self.input_size}, got {k.size}"))
        for i, axis in enumerate(axes):
            k = k.pad(axis, self.padding[i], self.padding[i]).window(axis, range(self.kernel_size[i]), self.stride[i])
        taps = math.prod(self.kernel_size)
        k = self.law.affine(k, self.fan_in, self.out_channels, self.bias is not None, taps)
        return k.diagonal(axes)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, bias={self.bias is not None}, input_size={self.input_size}, {self.law.describe()}"
        )


class LocalConv1d(_Local):
    """A convolution over sequences (N, C, L) with weights and biases of their own at each position.

    K'(p, p) = w_std^2 mean_k K(s p + k, s p + k) + b_std^2, and 0 at different positions; the NTK likewise.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias, device, dtype: as in `torch.nn.Conv1d`.
        input_size: number of positions that come in, before padding.
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * kernel_size.

    Raises:
        ValueError: as `Linear`; an input_size without room for a window; another size when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148), section on locally connected networks.

    Example:
        >>> import torch, torchtangents as tt
        >>> layer = tt.nn.LocalConv1d(2, 8, 3, padding=1, input_size=5)
        >>> layer(torch.randn(4, 2, 5)).shape
        torch.Size([4, 8, 5])
        >>> tt.nngp(layer, torch.randn(1, 2, 5))[0, 0].count_nonzero()
        tensor(5)
    """

    n = 1


class LocalConv2d(_Local):
    """A convolution over images (N, C, H, W) with weights and biases of their own at each position.

    K'(p, p) = w_std^2 mean_k K(s p + k, s p + k) + b_std^2, and 0 at different positions; the NTK likewise.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, bias, device, dtype: as in `torch.nn.Conv2d`.
        input_size: (H, W) that come in, before padding; one number where they are equal.
        w_std, b_std, parameterization: as in `Linear`, with fan_in = in_channels * taps.

    Raises:
        ValueError: as `Linear`; an input_size without room for a window; another size when a kernel is asked for.

    Novak et al. 2019 (arXiv 1810.05148), section on locally connected networks.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.LocalConv2d(3, 8, 3, input_size=6), tt.nn.ReLU(), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(4, 3, 6, 6)).shape
        torch.Size([4, 4])
    """

    n = 2
