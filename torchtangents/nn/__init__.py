"""Layers: each a `torch.nn` module with the rule of its infinite-width kernel beside its forward pass."""

from .analytic import GELU, RBF, Cos, Erf, SigmoidLike, Sin
from .convolution import Conv1d, Conv2d
from .elementwise import Elementwise
from .exponential import Exp, ExpNormalized, Gabor, Gaussian
from .exponential_linear import CELU, ELU, SELU
from .hard import Hardsigmoid, Hardswish, Hardtanh, ReLU6, Softshrink
from .linear import Linear
from .normalization import LayerNorm
from .padding import CircularPad1d, CircularPad2d, ZeroPad1d, ZeroPad2d
from .piecewise import ABReLU, Abs, LeakyReLU, ReLU, Sign
from .polynomial import Hermite, Monomial, Polynomial, RectifiedMonomial
from .pooling import AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool, GlobalSumPool, SumPool1d, SumPool2d
from .smooth import LogSigmoid, Mish, Sigmoid, SiLU, Softplus, Softsign, Tanh, Tanhshrink
from .structure import Dropout, Flatten, Identity

__all__ = [
    "CELU", "ELU", "GELU", "RBF", "SELU", "ABReLU", "Abs", "AdaptiveAvgPool2d", "AvgPool1d", "AvgPool2d", "CircularPad1d",
    "CircularPad2d", "Conv1d", "Conv2d", "Cos", "Dropout", "Elementwise", "Erf", "Exp", "ExpNormalized", "Flatten", "Gabor",
    "Gaussian", "GlobalAvgPool", "GlobalSumPool", "Hardsigmoid", "Hardswish", "Hardtanh", "Hermite", "Identity", "LayerNorm",
    "LeakyReLU", "Linear", "LogSigmoid", "Mish", "Monomial", "Polynomial", "ReLU", "ReLU6", "RectifiedMonomial", "SiLU",
    "Sigmoid", "SigmoidLike", "Sign", "Sin", "Softplus", "Softshrink", "Softsign", "SumPool1d", "SumPool2d", "Tanh",
    "Tanhshrink", "ZeroPad1d", "ZeroPad2d",
]  # fmt: skip
