"""Neural networks of infinite width in PyTorch: NNGP and NTK kernels of your own modules."""

from . import nn, predict
from .config import show_config
from .covariance.refusal import UnsupportedError
from .covariance.state import State
from .kernels import Kernels, kernels, nngp, ntk
from .nn.layer import Layer

__all__ = ["Kernels", "Layer", "State", "UnsupportedError", "kernels", "nn", "nngp", "ntk", "predict", "show_config"]
