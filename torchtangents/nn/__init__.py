"""Layers: each a `torch.nn` module with the rule of its infinite-width kernel beside its forward pass."""

from .analytic import GELU, RBF, Cos, Erf, SigmoidLike, Sin
from .attention import SelfAttention
from .convolution import Conv1d, Conv2d, Conv3d
from .elementwise import Elementwise
from .embedding import Embedding
from .exponential import Exp, ExpNormalized, Gabor, Gaussian
from .exponential_linear import CELU, ELU, SELU
from .graph import Aggregate
from .hard import Hardsigmoid, Hardswish, Hardtanh, ReLU6, Softshrink
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
from .piecewise import ABReLU, Abs, LeakyReLU, ReLU, Sign
from .polynomial import Hermite, Monomial, Polynomial, RectifiedMonomial
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
from .position import PositionalEmbedding
from .recurrent import RNN
from .resize import Upsample
from .smooth import LogSigmoid, Mish, Sigmoid, SiLU, Softplus, Softsign, Tanh, Tanhshrink
from .structure import Dropout, Flatten, Identity
from .transformer import TransformerEncoderLayer
from .transposed import ConvTranspose1d, ConvTranspose2d

__all__ = [
    "ABReLU", "Abs", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "Aggregate", "AvgPool1d",
    "AvgPool2d", "AvgPool3d", "CELU", "CircularPad1d", "CircularPad2d", "CircularPad3d", "Conv1d", "Conv2d", "Conv3d",
    "ConvTranspose1d", "ConvTranspose2d", "Cos", "Dropout", "ELU", "Elementwise", "Embedding", "Erf", "Exp",
    "ExpNormalized", "Flatten", "GELU", "Gabor", "Gaussian", "GlobalAvgPool", "GlobalSumPool", "GroupNorm",
    "Hardsigmoid", "Hardswish", "Hardtanh", "Hermite", "Identity", "LayerNorm", "LazyConv1d", "LazyConv2d",
    "LazyConv3d", "LazyLinear", "LeakyReLU", "Linear", "LocalConv1d", "LocalConv2d", "LogSigmoid", "Mish", "Monomial",
    "Polynomial", "PositionalEmbedding", "RBF", "RMSNorm", "RNN", "ReLU", "ReLU6", "RectifiedMonomial",
    "ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d", "ReplicationPad2d", "SELU", "SelfAttention", "SiLU",
    "Sigmoid", "SigmoidLike", "Sign", "Sin", "Softplus", "Softshrink", "Softsign", "SumPool1d", "SumPool2d",
    "SumPool3d", "Tanh", "Tanhshrink", "TransformerEncoderLayer", "Upsample", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip
