"""Data of any size, a few rows at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Data = Any  # a tensor, or what has a shape and gives arrays when sliced: numpy's memmap, zarr, HDF5, dask
_VALUES = 1 << 22  # features of a piece: 16 MiB in float32


def pieces(x: Data, dim: int, name: str = "x") -> list[slice]:
    """Slices of the rows of x, each of about 4 Mi features."""
    shape = getattr(x, "shape", None)
    if shape is None or not hasattr(x, "__getitem__"):
        raise TypeError(f"{name}: expected a tensor (N, ..), or an array that can be sliced, got {type(x).__name__}")
    if len(shape) == 0 or shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row, got shape {tuple(shape)}")
    step = max(64, _VALUES // max(dim, 1))
    return [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


def rows(x: Data, piece: slice) -> Tensor:
    """These rows as a tensor; those of an array are copied."""
    part = x[piece]
    return part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
