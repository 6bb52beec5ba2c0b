"""Resizing as a linear map along each axis of positions, read off torch's own interpolation of unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .refusal import placed, refuse
from .state import State

_AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
_ONE = {"linear": "linear", "bilinear": "linear", "trilinear": "linear"}  # the same map along one axis


def resize(
    k: State,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> State:
    """`F.interpolate` of a value (N, C, positions ..): every mode is a product of maps along its axes."""
    n = len(k.layout) - 1
    if _AXES.get(mode, n) != n:
        raise ValueError(placed(f"expected {_AXES[mode]} axes of positions for mode {mode!r}, got shape {(-1, *k.shape)}"))
    if antialias:
        refuse("interpolation with antialias=True has no rule; expected antialias=False, or an average pool before it")
    axes = [k.spatial(1 + i) for i in range(n)]
    sizes, factors = ((v if isinstance(v, (tuple, list)) else (v,) * n) for v in (size, scale_factor))
    for axis, out, factor in zip(axes, sizes, factors, strict=True):
        try:
            matrix = _matrix(k.size[axis], out, factor, mode, align_corners, recompute_scale_factor)
        except (ValueError, RuntimeError) as error:
            raise ValueError(placed(str(error))) from error
        k = k.matrix(axis, matrix)
    return k


def _matrix(
    n: int, size: int | None, factor: float | None, mode: str, corners: bool | None, recompute: bool | None
) -> np.ndarray:
    """out[p] = sum_q A[p, q] in[q]: (positions out, n)."""
    units = torch.eye(n, dtype=torch.float64, device="cpu")[None]  # unit vectors as channels
    options: dict[str, Any] = {"align_corners": corners, "recompute_scale_factor": recompute}
    if mode != "bicubic":
        out = F.interpolate(units, size, factor, _ONE.get(mode, mode), **options)
    else:  # torch has it for images: one position wide
        shape = None if size is None else (size, 1)
        scale = None if factor is None else (factor, 1.0)
        out = F.interpolate(units[..., None], shape, scale, mode, **options).squeeze(-1)
    return out[0].T.numpy()
