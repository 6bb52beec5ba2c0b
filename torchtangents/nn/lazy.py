"""Layers that learn their number of inputs from the first data; kernels work with any, and do not decide it."""

from __future__ import annotations

import torch

from ..covariance.state import State
from .convolution import Conv1d, Conv2d, Conv3d
from .law import Law, Scalar
from .linear import Linear


class _Lazy:
    """The rule at the width of the value that arrives; weights that do not exist yet stay so."""

    in_features: int
    in_channels: int
    weight: torch.nn.Parameter

    def reset_parameters(self) -> None:
        """Draw the weights and biases from the law, once they exist."""
        if not self.has_uninitialized_params() and self.weight.numel():  # type: ignore[attr-defined]
            super().reset_parameters()  # type: ignore[misc]

    def _width(self, arriving: int) -> int:
        return arriving if self.has_uninitialized_params() else self.weight.shape[1]  # type: ignore[attr-defined]


class LazyLinear(_Lazy, Linear, torch.nn.LazyLinear):
    """A `Linear` whose in_features is that of the first input it is called with.

    A kernel asked for before does not fix it: it takes the width of its own data, which matters under "standard" only.

    Args:
        out_features, bias, device, dtype: as in `torch.nn.LazyLinear`.
        w_std, b_std, parameterization: as in `Linear`.

    Raises:
        ValueError: as `Linear`.

    Example:
        >>> import torch, torchtangents as tt
        >>> layer = tt.nn.LazyLinear(16, w_std=2., b_std=0.)
        >>> tt.nngp(layer, torch.ones(1, 4)) == tt.nngp(layer, torch.ones(1, 7))
        tensor([[True]])
        >>> layer(torch.ones(1, 4)).shape, type(layer) is tt.nn.Linear
        (torch.Size([1, 16]), True)
    """

    cls_to_become = Linear  # type: ignore[assignment]

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "LazyLinear"))
        torch.nn.LazyLinear.__init__(self, out_features, bias, device, dtype)

    def propagate(self, k: State) -> State:
        return self._rule(k, self._width(k.shape[-1]))


class _LazyConvolution(_Lazy):
    def propagate(self, k: State) -> State:
        return self._rule(k, self._width(k.shape[0]))  # type: ignore[attr-defined]


class LazyConv1d(_LazyConvolution, Conv1d, torch.nn.LazyConv1d):
    """A `Conv1d` whose in_channels is that of the first input it is called with; kernels do not fix it.

    Args:
        out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as in
            `torch.nn.LazyConv1d`.
        w_std, b_std, parameterization: as in `Conv1d`.

    Raises:
        ValueError, UnsupportedError: as `Conv1d`.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.LazyConv1d(8, 3), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(2, 3, 5)).shape
        torch.Size([2, 2])
    """

    cls_to_become = Conv1d  # type: ignore[assignment]

    def __init__(
        self,
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
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "LazyConv1d"))
        torch.nn.LazyConv1d.__init__(
            self, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )  # type: ignore[arg-type]


class LazyConv2d(_LazyConvolution, Conv2d, torch.nn.LazyConv2d):
    """A `Conv2d` whose in_channels is that of the first input it is called with; kernels do not fix it.

    Args:
        out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as in
            `torch.nn.LazyConv2d`.
        w_std, b_std, parameterization: as in `Conv2d`.

    Raises:
        ValueError, UnsupportedError: as `Conv2d`.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.LazyConv2d(8, 3), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(2, 3, 5, 5)).shape
        torch.Size([2, 2])
    """

    cls_to_become = Conv2d  # type: ignore[assignment]

    def __init__(
        self,
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
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "LazyConv2d"))
        torch.nn.LazyConv2d.__init__(
            self, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )  # type: ignore[arg-type]


class LazyConv3d(_LazyConvolution, Conv3d, torch.nn.LazyConv3d):
    """A `Conv3d` whose in_channels is that of the first input it is called with; kernels do not fix it.

    Args:
        out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype: as in
            `torch.nn.LazyConv3d`.
        w_std, b_std, parameterization: as in `Conv3d`.

    Raises:
        ValueError, UnsupportedError: as `Conv3d`.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.LazyConv3d(8, 2), tt.nn.GlobalAvgPool())
        >>> tt.nngp(net, torch.randn(2, 3, 3, 3, 3)).shape
        torch.Size([2, 2])
    """

    cls_to_become = Conv3d  # type: ignore[assignment]

    def __init__(
        self,
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
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "LazyConv3d"))
        torch.nn.LazyConv3d.__init__(
            self, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )  # type: ignore[arg-type]
