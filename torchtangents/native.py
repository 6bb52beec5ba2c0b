"""The compiled operations of csrc/, each with the torch code that serves where there was no compiler."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

_CHUNK = 1 << 22  # values gathered at a time by the torch code

try:
    _native = importlib.import_module("torchtangents._native")
except ImportError:
    _native = None


def available() -> bool:
    """Whether the compiled extension was built and is in use.

    Example:
        >>> from torchtangents import native
        >>> native.available() in (True, False)
        True
    """
    return _native is not None


def squared_differences(x1: Tensor, x2: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Squared distances of chosen rows, accumulated in double precision.

    out[k] = sum_c (x1[i[k], c] - x2[j[k], c])^2

    Args:
        x1: (N1, C), float32 or float64.
        x2: (N2, C), of the same dtype.
        i, j: (K,) int64, rows of x1 and x2.

    Returns:
        (K,)

    Raises:
        IndexError: an index is out of range.
        ValueError: x1 and x2 differ in channels, or i and j in length.

    Example:
        >>> import torch
        >>> from torchtangents.native import squared_differences
        >>> squared_differences(torch.eye(2), torch.eye(2), torch.tensor([0, 0]), torch.tensor([0, 1]))
        tensor([0., 2.])
    """
    if x1.ndim != 2 or x2.ndim != 2 or x1.shape[1] != x2.shape[1]:
        raise ValueError(f"expected x1 (N1, C) and x2 (N2, C) with one C, got {tuple(x1.shape)} and {tuple(x2.shape)}")
    if i.ndim != 1 or i.shape != j.shape:
        raise ValueError(f"expected i and j (K,) of one length, got {tuple(i.shape)} and {tuple(j.shape)}")
    graph = torch.is_grad_enabled() and (x1.requires_grad or x2.requires_grad)
    if _native is not None and x1.device.type == "cpu" and x1.dtype == x2.dtype and not graph:
        out = torch.empty(len(i), dtype=x1.dtype)
        rows1, rows2, left, right = (t.detach().contiguous() for t in (x1, x2, i, j))
        _native.squared_differences(rows1, rows2, left, right, out, torch.get_num_threads())
        return out
    step = max(1, _CHUNK // max(1, x1.shape[1]))
    parts = [
        (x1[a].double() - x2[b].double()).square().sum(-1)
        for a, b in zip(i.split(step), j.split(step), strict=True)
    ]
    return torch.cat(parts).to(x1.dtype) if parts else x1.new_zeros(0)
