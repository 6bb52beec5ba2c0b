"""`tt.trace`: what a network's kernel will compute."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch

from .engine.trace import Trace, trace_of
from .graph.program import record
from .inputs import as_arguments


def trace(net: torch.nn.Module, shape: Any, *, dtype: torch.dtype = torch.float32) -> Trace:
    """The recorded steps of a network, the planes each one needs, and its cost; nothing is computed.

    Args:
        net: as in `ntk`.
        shape: of the inputs, with the batch first, e.g. `x.shape`; or a tensor, or a tuple of forward's arguments.
        dtype: of the inputs, where only a shape is given.

    Raises:
        UnsupportedError: as `ntk`.
        TypeError: neither a shape nor tensors.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), tt.nn.Linear(8 * 36, 1))
        >>> print(tt.trace(net, (1, 3, 8, 8)))
        layer       step    positions  planes  which  cost a pair
        input       Input   8x8             1  0 x 0          768
        0 (Conv2d)  Window  6x8             1  0 x 0          144
        0 (Conv2d)  Window  6x6             1  0 x 0          108
        0 (Conv2d)  Affine  6x6             1  0 x 0          288
        2 (Linear)  Trace   6               1  0                6
        2 (Linear)  Trace   -               1  -                1
        2 (Linear)  Affine  -               1  -                8
        total: 1,323 operations a pair
    """
    if isinstance(shape, (tuple, list)) and shape and all(isinstance(s, Integral) for s in shape):
        shape = torch.zeros(tuple(shape), dtype=dtype, device="cpu")
    return trace_of(record(net, as_arguments(shape, "shape")))
