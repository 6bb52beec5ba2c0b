"""Neural networks of infinite width in PyTorch: NNGP and NTK kernels of your own modules."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from . import empirical, nn, plot, predict
from .config import installed, show_config
from .convert import from_torch
from .covariance.refusal import UnsupportedError
from .covariance.state import State
from .kernels import Kernels, kernels, nngp, ntk
from .linearize import linearize, taylor_expand
from .monte_carlo import MonteCarlo, monte_carlo
from .nn.layer import Layer
from .start import propagate
from .trace import trace

if TYPE_CHECKING:
    from . import gp, scale

__version__ = installed("torchtangents", "0.1.0.dev0")
__all__ = [
    "Kernels",
    "Layer",
    "MonteCarlo",
    "State",
    "UnsupportedError",
    "empirical",
    "from_torch",
    "gp",
    "kernels",
    "linearize",
    "monte_carlo",
    "nn",
    "nngp",
    "ntk",
    "plot",
    "predict",
    "propagate",
    "scale",
    "__version__",
    "show_config",
    "taylor_expand",
    "trace",
]


def __getattr__(name: str) -> ModuleType:
    if name in ("gp", "scale"):  # they import gpytorch, and dask and zarr
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
