"""A fully connected network as a chain of steps, read from its recorded program; anything else is refused by name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...covariance.combine import Combine
from ...covariance.kinked import ABReLU
from ...covariance.laws import Affine, Input
from ...covariance.node import Node
from ...covariance.pointwise import Pointwise
from ...covariance.refusal import UnsupportedError
from ...graph.program import record
from ...inputs import as_arguments
from ...nn.law import RandomLayer
from ...nn.linear import Linear
from .separate import require_separate


@dataclass(frozen=True)
class Random:
    """K' = w^2 K + b^2 and Theta' = grow^2 K + shift^2 + w^2 Theta: the roots of the numbers of an affine step."""

    w: float
    b: float
    grow: float
    shift: float


@dataclass(frozen=True)
class Kink:
    """f(x) = a min(x, 0) + b max(x, 0), and the layer's name."""

    a: float
    b: float
    layer: str


@dataclass(frozen=True)
class Scale:
    """c x: K' = c^2 K, Theta' = c^2 Theta."""

    c: float


Step = Random | Kink | Scale


def chain(net: torch.nn.Module, x: Tensor) -> tuple[Tensor, tuple[Step, ...]]:
    """The data (N, C) that reach the first random layer, and the steps from there on."""
    program = record(net, as_arguments(x, "x"))
    first, *rest = program.steps
    for step in (*rest, first):  # a layer says more than the input does
        if step.size or len(step.inputs) > 1 or (step is not first and not step.inputs):
            what = f"has positions {step.size}" if step.size else "joins several values"
            raise UnsupportedError(_refusal(step, what))
    if not isinstance(first, Input):
        raise UnsupportedError(_refusal(first, "has no rule"))
    require_separate(net, x, program)
    return first.values, tuple(_step(step) for step in rest)


def probe(net: torch.nn.Module, input_shape: tuple[int, ...] | None) -> tuple[int, tuple[Step, ...]]:
    """The number of channels and the steps, from an input of zeros; without a shape, that of the first Linear."""
    layers = {name: m for name, m in net.named_modules() if isinstance(m, RandomLayer)}
    other = next((f"{name} ({type(m).__name__})" for name, m in layers.items() if not isinstance(m, Linear)), None)
    width = next((m.in_features for m in layers.values() if isinstance(m, Linear)), 0)
    shape = (width,) if input_shape is None else input_shape
    device = next((b.device for b in net.buffers()), torch.device("cpu"))  # of constants that forward may add
    try:
        if 0 in shape:
            raise ValueError("it does not tell how many numbers it reads")
        values, steps = chain(net, torch.zeros(1, *shape, device=device))
        return values.shape[1], steps
    except UnsupportedError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        if input_shape is not None:
            raise
        if other is not None:
            raise UnsupportedError(f"{other}: {_EXPECTED}") from error
        raise ValueError(
            f"input_shape: forward does not take rows {shape} of the first Linear ({error}); expected the shape of one input, "
            "input_shape=(..)"
        ) from error


_EXPECTED = (
    "has no explicit feature map here. Expected a chain of tt.nn.Linear, ReLU, LeakyReLU, Abs and ABReLU; "
    "tt.scale.nystrom takes every network"
)


def _refusal(step: Node, what: str) -> str:
    return f"{step.layer or 'the input'}: {what}, and {_EXPECTED}"


def _step(step: Node) -> Step:
    if isinstance(step, Affine) and step.taps == 1:
        w2, b2, grow, shift = (_number(v) for v in (step.w2, step.b2, step.grow, step.shift))
        return Random(*(math.sqrt(v) for v in (w2, b2, grow, shift)))
    if isinstance(step, Pointwise) and type(step.dual) is ABReLU and step.gain is None:
        a, b = _number(step.dual.a), _number(step.dual.b)
        return Scale(a) if a == b else Kink(a, b, step.layer)
    if isinstance(step, Combine):
        return Scale(_number(step.coefficients[0]))
    raise UnsupportedError(f"{step.layer}: {step!r} {_EXPECTED}")


def _number(value: float | Tensor) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)
