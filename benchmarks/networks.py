"""Our network of a neutral architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import Flatten, Module, Sequential

import torchtangents as tt

from .architectures import B_STD, W_STD

WIDTH = 8
LAW = {"w_std": W_STD, "b_std": B_STD}


class Residual(Module):
    """The sum of two networks of one input."""

    def __init__(self, main: Module, shortcut: Module):
        super().__init__()
        self.main, self.shortcut = main, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both, added."""
        return self.shortcut(x) + self.main(x)


def build(net: Sequence, shape: Sequence[int]) -> Module:
    """The network for inputs of one shape (without the batch)."""
    return _sequence(net, tuple(shape))[0]


def _sequence(net: Sequence, shape: tuple[int, ...]) -> tuple[Sequential, tuple[int, ...]]:
    layers = []
    for layer in net:
        module, shape = _layer(layer, shape)
        layers.append(module)
    return Sequential(*layers), shape


def _layer(layer: Sequence, shape: tuple[int, ...]) -> tuple[Module, tuple[int, ...]]:
    kind, *arguments = layer
    if kind == "conv":
        return _convolution(shape, *arguments)
    if kind == "relu":
        return tt.nn.ReLU(), shape
    if kind == "avgpool":
        return tt.nn.AvgPool2d(arguments[0]), (shape[0], *(n // arguments[0] for n in shape[1:]))
    if kind == "gap":
        return tt.nn.GlobalAvgPool(), shape[:1]
    if kind == "flatten":
        return Flatten(), (math.prod(shape),)
    if kind == "dense":
        return tt.nn.Linear(*shape, WIDTH, **LAW), (WIDTH,)
    if kind == "residual":
        (main, out), (shortcut, _) = (_sequence(branch, shape) for branch in arguments)
        return Residual(main, shortcut), out
    raise ValueError(f"expected a layer of benchmarks/architectures.py, got {layer!r}")


def _convolution(shape: tuple[int, ...], size: int, stride: int) -> tuple[Module, tuple[int, ...]]:
    channels, *sides = shape
    out = [math.ceil(n / stride) for n in sides]
    height, width = (max((m - 1) * stride + size - n, 0) for m, n in zip(out, sides, strict=True))
    pads = (width // 2, width - width // 2, height // 2, height - height // 2)
    if len(set(pads)) == 1:
        return tt.nn.Conv2d(channels, WIDTH, size, stride, pads[0], **LAW), (WIDTH, *out)
    return Sequential(tt.nn.ZeroPad2d(pads), tt.nn.Conv2d(channels, WIDTH, size, stride, **LAW)), (WIDTH, *out)
