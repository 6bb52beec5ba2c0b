"""Layers: each a `torch.nn` module with the rule of its infinite-width kernel beside its forward pass."""

from .analytic import GELU, RBF, Cos, Erf, SigmoidLike, Sin
from .attention import SelfAttention
from .convolution import Conv1d, Conv2d
from .elementwise import ELU, Elementwise, Sigmoid, SiLU, Softplus, Tanh
from .embedding import Embedding
from .graph import Aggregate
from .linear import Linear
from .normalization import LayerNorm
from .padding import CircularPad1d, CircularPad2d, ZeroPad1d, ZeroPad2d
from .piecewise import ABReLU, Abs, Hardtanh, LeakyReLU, ReLU, Sign
from .pooling import AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool, GlobalSumPool, SumPool1d, SumPool2d
from .position import PositionalEmbedding
from .recurrent import RNN
from .structure import Dropout, Flatten, Identity
from .transformer import TransformerEncoderLayer

__all__ = [
    "ELU", "GELU", "RBF", "RNN", "ABReLU", "Abs", "Aggregate", "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d",
    "CircularPad1d", "CircularPad2d", "Conv1d", "Conv2d", "Cos", "Dropout", "Elementwise", "Embedding", "Erf", "Flatten",
    "GlobalAvgPool", "GlobalSumPool", "Hardtanh", "Identity", "LayerNorm", "LeakyReLU", "Linear", "PositionalEmbedding",
    "ReLU", "SelfAttention", "SiLU", "Sigmoid", "SigmoidLike", "Sign", "Sin", "Softplus", "SumPool1d", "SumPool2d", "Tanh",
    "TransformerEncoderLayer", "ZeroPad1d", "ZeroPad2d",
]  # fmt: skip
