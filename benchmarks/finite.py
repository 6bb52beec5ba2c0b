"""Finite networks of the empirical cases, as plain torch modules, with weights that every side can draw again.

A network is one layer of data: ("finite", name, *numbers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

NAMES = ("fc", "cnn", "resnet18", "vit")


def is_finite(net: Sequence) -> bool:
    """Whether a case is about a finite network."""
    return bool(net) and net[0][0] == "finite"


def weights(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Arrays of these shapes in float64: N(0, 1 / fan in) where there are several axes (outputs first), else 0.1 N(0, 1)."""
    generator = np.random.default_rng(0)
    scale = [1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1 for shape in shapes]
    return [s * generator.standard_normal(shape) for s, shape in zip(scale, shapes, strict=True)]


def chain(net: Sequence, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes of weights and biases, in turn, of a chain: ("fc", width, depth, outputs) or ("cnn", channels, depth, outputs)."""
    _, kind, width, depth, outputs = net[0]
    sizes = [math.prod(shape) if kind == "fc" else shape[0]] + [width] * depth
    window = () if kind == "fc" else (3, 3)
    out: list[tuple[int, ...]] = []
    for i, o in pairwise(sizes):
        out += [(o, i, *window), (o,)]
    last = width if kind == "fc" else width * math.prod(shape[1:])
    return [*out, (outputs, last), (outputs,)]


def build(net: Sequence, shape: Sequence[int]) -> Any:
    """The torch module for inputs of one shape (without the batch), in evaluation mode."""
    import torch
    from torch import nn

    _, kind, *numbers = net[0]
    if kind in ("fc", "cnn"):
        layers: list[nn.Module] = []
        drawn = chain(net, shape)
        for i, wanted in enumerate(drawn[::2]):
            last = i == len(drawn) // 2 - 1
            layers += [nn.Flatten()] if last and kind == "cnn" else []
            layers.append(nn.Linear(wanted[1], wanted[0]) if len(wanted) == 2 else nn.Conv2d(wanted[1], wanted[0], 3, padding=1))
            layers += [] if last else [nn.ReLU()]
        model: nn.Module = nn.Sequential(*layers)
        with torch.no_grad():
            for p, w in zip(model.parameters(), weights(drawn), strict=True):
                p.copy_(torch.from_numpy(w))
        return model.eval()
    from .finite_models import ResNet18, VisionTransformer

    if kind not in NAMES:
        raise ValueError(f"expected a network of {NAMES}, got {kind!r}")
    torch.manual_seed(0)
    return (ResNet18 if kind == "resnet18" else VisionTransformer)(*numbers).eval()
