"""The rules of convolutional ReLU networks in plain torch, dense over positions: what torch.compile is measured on.

A covariance is (.., H, W, H', W'), or (.., H, W) at equal positions where no later layer mixes them. It takes no distances along,
so it computes less than the library does, and near-duplicates less accurately.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .architectures import B_STD, W_STD, Net, kinds

_W2, _B2 = W_STD**2, B_STD**2
Values = tuple[Tensor, Tensor, Tensor, Tensor]  # NNGP and NTK of pairs, covariances of x1 and of x2 with themselves
Region = Callable[[Values, Net, "Form"], Values]


@dataclass(frozen=True)
class Form:
    """Whether pairs, and inputs with themselves, are held between all positions."""

    pairs: bool
    own: bool


def kernels(net: Net, x1: Tensor, x2: Tensor, region: Region | None = None) -> tuple[Tensor, Tensor]:
    """(nngp, ntk) of every pair of images (N, C, H, W); `region`: a compiled `layers`."""
    form = Form(bool(kinds(net) & {"gap", "avgpool"}), "avgpool" in kinds(net))
    product = "achw,bcij->abhwij" if form.pairs else "achw,bchw->abhw"
    own = "achw,acij->ahwij" if form.own else "achw,achw->ahw"
    k = torch.einsum(product, x1, x2) / x1.shape[1]
    values = k, torch.zeros_like(k), *(torch.einsum(own, x, x) / x.shape[1] for x in (x1, x2))
    k, t, *_ = _network(values, net, form, region or layers)
    return k, t


def _network(values: Values, net: Net, form: Form, region: Region) -> Values:
    """Layers in regions, which repeat, so that each is compiled once; a ReLU before a window would be computed at every tap."""
    at = 0
    while at < len(net):
        if net[at][0] == "residual":
            _, main, shortcut = net[at]
            one, two = (_network(values, branch, form, region) for branch in (main, shortcut))
            values = tuple(a + b for a, b in zip(one, two, strict=True))  # type: ignore[assignment]
            at += 1
            continue
        count = 2 if [n[0] for n in net[at : at + 2]] == ["conv", "relu"] else 1
        values = region(values, net[at : at + count], form)
        at += count
    return values


def layers(values: Values, net: Net, form: Form) -> Values:
    """Some layers one after the other."""
    for kind, *arguments in net:
        values = _relu(values, form) if kind == "relu" else _linear(values, form, kind, arguments)
    return values


def _linear(values: Values, form: Form, kind: str, arguments: list) -> Values:
    k, t, a, b = values
    if kind == "dense":
        k, a, b = (_W2 * c + _B2 for c in (k, a, b))
        return k, _W2 * t + k, a, b
    if kind == "conv":
        k, t = (_W2 / 9 * _window(c, form.pairs, *arguments) for c in (k, t))
        a, b = (_W2 / 9 * _window(c, form.own, *arguments) + _B2 for c in (a, b))
        return k + _B2, t + k + _B2, a, b
    if kind == "avgpool":
        k, t, a, b = (_pool(c, *arguments) for c in values)
        return k, t, a, b
    read = _everywhere if kind == "gap" else _equal
    return read(k, form.pairs), read(t, form.pairs), _equal(a, form.own), _equal(b, form.own)


def _window(c: Tensor, all_positions: bool, size: int, stride: int) -> Tensor:
    """Sums over windows that both positions move through together."""
    for axis in range(2):
        dims = (axis - 4, axis - 2) if all_positions else (axis - 2,)
        positions = c.shape[dims[0]]
        out = -(-positions // stride)
        padding = max((out - 1) * stride + size - positions, 0)
        pads = [0] * (2 * -dims[0])
        for d in dims:
            pads[2 * (-d - 1)], pads[2 * (-d - 1) + 1] = padding // 2, padding - padding // 2
        c = torch.nn.functional.pad(c, pads)
        total = torch.zeros(())
        for tap in range(size):
            part = c
            for d in dims:
                part = part[(..., slice(tap, tap + (out - 1) * stride + 1, stride), *[slice(None)] * (-d - 1))]
            total = part if tap == 0 else total + part
        c = total
    return c


def _pool(c: Tensor, size: int) -> Tensor:
    for d in range(-4, 0):
        c = c.unflatten(d, (-1, size)).mean(d)
    return c


def _everywhere(c: Tensor, all_positions: bool) -> Tensor:
    return c.mean((-4, -3, -2, -1)) if all_positions else c.mean((-2, -1))


def _variances(c: Tensor, all_positions: bool) -> Tensor:
    """(.., H, W)."""
    if not all_positions:
        return c
    return c.flatten(-4, -3).flatten(-2, -1).diagonal(dim1=-2, dim2=-1).unflatten(-1, c.shape[-2:])


def _equal(c: Tensor, all_positions: bool) -> Tensor:
    return _variances(c, all_positions).mean((-2, -1))


def _relu(values: Values, form: Form) -> Values:
    k, t, a, b = values
    x, y = (_variances(c, form.own).clamp_min(0).sqrt() for c in (a, b))
    k, t = _arc_cosine(k, t, *_beside(x[:, None], y[None], form.pairs))
    a, b = (_arc_cosine(c, c, *_beside(z, z, True))[0] if form.own else c / 2 for c, z in ((a, x), (b, y)))
    return k, t, a, b


def _beside(x: Tensor, y: Tensor, all_positions: bool) -> tuple[Tensor, Tensor]:
    return (x[..., None, None], y[..., None, None, :, :]) if all_positions else (x, y)


def _arc_cosine(k: Tensor, t: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    m = x * y
    near, far = (m - k).clamp_min(0), (m + k).clamp_min(0)
    slope = 0.5 - torch.atan2(near.sqrt(), far.sqrt()) / math.pi
    return (near * far).sqrt() / (2 * math.pi) + k * slope, t * slope
