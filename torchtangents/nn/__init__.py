"""Layers: each a `torch.nn` module with the rule of its infinite-width kernel beside its forward pass."""

from .analytic import GELU, RBF, Cos, Erf, SigmoidLike, Sin
from .convolution import Conv1d, Conv2d, Conv3d
from .elementwise import ELU, Elementwise, Sigmoid, SiLU, Softplus, Tanh
from .lazy import LazyConv1d, LazyConv2d, LazyConv3d, LazyLinear
from .linear import Linear
from .local import LocalConv1d, LocalConv2d
from .normalization import GroupNorm, LayerNorm, RMSNorm
from .padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReplicationPad1d,
    ReplicationPad2d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from .piecewise import ABReLU, Abs, Hardtanh, LeakyReLU, ReLU, Sign
from .pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    GlobalSumPool,
    SumPool1d,
    SumPool2d,
    SumPool3d,
)
from .resize import Upsample
from .structure import Dropout, Flatten, Identity
from .transposed import ConvTranspose1d, ConvTranspose2d

__all__ = [
    "ELU", "GELU", "RBF", "ABReLU", "Abs", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AvgPool1d",
    "AvgPool2d", "AvgPool3d", "CircularPad1d", "CircularPad2d", "CircularPad3d", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "Cos", "Dropout", "Elementwise", "Erf", "Flatten", "GlobalAvgPool",
    "GlobalSumPool", "GroupNorm", "Hardtanh", "Identity", "LayerNorm", "LazyConv1d", "LazyConv2d", "LazyConv3d",
    "LazyLinear", "LeakyReLU", "Linear", "LocalConv1d", "LocalConv2d", "RMSNorm", "ReLU", "ReflectionPad1d",
    "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "SiLU", "Sigmoid", "SigmoidLike", "Sign", "Sin",
    "Softplus", "SumPool1d", "SumPool2d", "SumPool3d", "Tanh", "Upsample", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip
