"""The same rules in eager torch, written as a user would write them: whole covariances, one operation after the other.

k12 is (N1, N2, *S), k11 (N1, *S) and k22 (N2, *S). S is () for vectors, (H, W) where only equal positions matter (no pool), and
(H, W, H, W) otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .architectures import B_STD, W_STD


def kernels(net: Sequence, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
    """NNGP and NTK, (N1, N2) each, of a chain of layers."""
    whole = any(kind in ("avgpool", "gap") for kind, *_ in net)
    k12, k11, k22 = _products(x1, x2, whole), _squares(x1, whole), _squares(x2, whole)
    t12 = torch.zeros_like(k12)
    for kind, *arguments in net:
        if kind == "relu":
            v1, v2 = variances(k11, whole), variances(k22, whole)
            k12, slope = relu(k12, *across(v1[:, None], v2[None], whole))
            t12 = slope * t12
            k11, k22 = relu(k11, *across(v1, v1, whole))[0], relu(k22, *across(v2, v2, whole))[0]
            continue
        if kind != "dense":
            k12, t12, k11, k22 = (_linear(k, kind, arguments, whole) for k in (k12, t12, k11, k22))
        whole = whole and kind not in ("gap", "flatten")
        if kind in ("conv", "dense"):
            k12, k11, k22 = (W_STD**2 * k + B_STD**2 for k in (k12, k11, k22))
            t12 = k12 + W_STD**2 * t12
    return k12, t12


def relu(k: Tensor, v1: Tensor, v2: Tensor) -> tuple[Tensor, Tensor]:
    """E relu(u) relu(v) and E relu'(u) relu'(v): the arc-cosine kernels of Cho and Saul 2009, as they are usually written."""
    scale = (v1 * v2).sqrt()
    cosine = (k / scale).clamp(-1, 1)
    angle = cosine.acos()
    slope = (torch.pi - angle) / (2 * torch.pi)
    return scale * (angle.sin() / (2 * torch.pi) + slope * cosine), slope


def variances(k: Tensor, whole: bool) -> Tensor:
    """The covariance of each input and position with itself: (N, *S) or (N, H, W)."""
    return torch.einsum("nhwhw->nhw", k) if whole else k


def across(v1: Tensor, v2: Tensor, whole: bool) -> tuple[Tensor, Tensor]:
    """Variances laid out to meet every pair of positions."""
    return (v1[..., None, None], v2[..., None, None, :, :]) if whole else (v1, v2)


def _products(x1: Tensor, x2: Tensor, whole: bool) -> Tensor:
    equation = "ic,jc->ij" if x1.ndim == 2 else "ichw,jcxy->ijhwxy" if whole else "ichw,jchw->ijhw"
    return torch.einsum(equation, x1, x2) / x1.shape[1]


def _squares(x: Tensor, whole: bool) -> Tensor:
    return torch.einsum("nchw,ncxy->nhwxy", x, x) / x.shape[1] if whole else x.square().mean(1)


def _linear(k: Tensor, kind: str, arguments: Sequence[int], whole: bool) -> Tensor:
    if kind == "conv":
        return _window(k, arguments[0], 4 if whole else 2)
    if kind == "avgpool":
        (size,) = arguments
        for axis in (-1, -3, -5, -7):
            k = k.unflatten(axis, (-1, size))
        return k.mean((-7, -5, -3, -1))
    if kind == "gap":
        return k.mean((-4, -3, -2, -1))
    if kind == "flatten":
        return (torch.einsum("...hwhw->...hw", k) if whole else k).mean((-2, -1))
    raise ValueError(f"expected a chain of conv, relu, avgpool, gap, flatten and dense, got {kind!r}")


def _window(k: Tensor, size: int, axes: int) -> Tensor:
    half, (height, width) = size // 2, k.shape[-2:]
    padded = F.pad(k, (half,) * 2 * axes)
    total = torch.zeros_like(k)
    for i, j in product(range(size), repeat=2):
        shift = (slice(i, i + height), slice(j, j + width)) * (axes // 2)
        total += padded[(..., *shift)]
    return total / size**2
