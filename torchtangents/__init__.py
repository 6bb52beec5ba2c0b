"""Neural networks of infinite width in PyTorch: NNGP and NTK kernels of your own modules."""

from . import empirical, nn, predict
from .config import installed, show_config
from .convert import from_torch
from .covariance.refusal import UnsupportedError
from .covariance.state import State
from .kernels import Kernels, kernels, nngp, ntk
from .nn.layer import Layer
from .start import propagate
from .trace import trace

__version__ = installed("torchtangents", "0.1.0.dev0")
__all__ = [
    "Kernels",
    "Layer",
    "State",
    "UnsupportedError",
    "empirical",
    "from_torch",
    "kernels",
    "nn",
    "nngp",
    "ntk",
    "predict",
    "propagate",
    "__version__",
    "show_config",
    "trace",
]
