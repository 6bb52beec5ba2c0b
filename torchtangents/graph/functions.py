"""The functions of torch that have a rule, whichever way they are called: F.relu, torch.relu, x.relu(), nn.ReLU()(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .arithmetic import ARITHMETIC
from .axes import AXES
from .indexing import INDEXING
from .matrices import MATRICES
from .normalization import NORMALIZATION
from .pointwise import POINTWISE
from .pooling import POOLING

_T = torch.Tensor

# What a forward may ask of a value while it is recorded: shapes are concrete, content is not.
_PROPERTIES = ["shape", "ndim", "dtype", "device", "is_cuda", "is_cpu", "is_mps", "is_meta", "layout", "requires_grad"]
_PROPERTIES += ["is_sparse", "is_quantized", "is_nested", "is_leaf", "itemsize", "nbytes", "_version"]
_METHODS = ["size", "dim", "numel", "nelement", "__len__", "ndimension", "is_floating_point", "is_complex", "is_contiguous"]
_METHODS += ["element_size", "get_device", "__hash__", "__repr__", "__format__"]
TRANSPARENT: set[Any] = {
    *(getattr(_T, name).__get__ for name in _PROPERTIES if hasattr(_T, name)),
    *(getattr(_T, name) for name in _METHODS),
    *(torch.is_floating_point, torch.is_complex, torch.numel),
}

# Functions that draw: what they give is one draw and not a law. Dropout does in training only.
DROPS: set[Any] = {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}
_DRAWS = ["bernoulli", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like"]
_DRAWS += ["randperm", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"]
DRAWS: set[Any] = {getattr(where, name) for where in (torch, _T) for name in _DRAWS if hasattr(where, name)}

HANDLERS: dict[Any, Callable] = {**ARITHMETIC, **AXES, **INDEXING, **MATRICES, **NORMALIZATION, **POINTWISE, **POOLING}
