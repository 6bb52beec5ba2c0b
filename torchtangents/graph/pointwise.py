"""Elementwise functions of torch on recorded values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..covariance.dual import Dual
from ..covariance.kinked import ABReLU, Sign
from ..covariance.named import by_quadrature
from ..covariance.refusal import refuse
from ..covariance.smooth import GELU, Erf, Sin
from .symbol import Symbol


def _handler(build: Callable[..., Dual], in_place: bool = False) -> Callable:
    """The handler of a function whose dual is build(**options)."""

    def handle(recorder: Any, input: Symbol, *args: Any, inplace: bool = in_place, **kwargs: Any) -> Symbol:
        state = input.current().apply(build(*args, **kwargs))
        return input.change(state) if inplace else recorder.symbol(state, input)

    return handle


def _gelu(approximate: str = "none") -> Dual:
    return GELU() if approximate == "none" else by_quadrature(F.gelu, (), "gelu(tanh)", approximate=approximate)


def _elu(alpha: float = 1.0, inplace: bool = False) -> Dual:
    return by_quadrature(F.elu, (0.0,), "elu", kinked=alpha != 1, alpha=alpha)


def _clamp(min: Any = None, max: Any = None) -> Dual:
    if not all(b is None or isinstance(b, (int, float)) for b in (min, max)):
        refuse("clamp between tensors has no rule; expected numbers")
    if min == 0 and max is None:
        return ABReLU(0.0, 1.0)
    ends = tuple(float(b) for b in (min, max) if b is not None)
    return by_quadrature(torch.clamp, ends, "clamp", min=min, max=max)


def _dropout(recorder: Any, input: Symbol, p: float = 0.5, training: bool = True, inplace: bool = False) -> Symbol:
    state = input.current()
    state = state.dropout(1 - p) if training else state
    return input.change(state) if inplace else recorder.symbol(state, input)


def _layer_norm(
    recorder: Any, input: Symbol, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Symbol:
    if weight is not None or bias is not None:
        refuse("layer_norm with a fixed weight or bias has no rule; expected tt.nn.LayerNorm, or none of both")
    return recorder.symbol(input.current().normalize(len(normalized_shape), eps, gain=False, bias=False), input)


def _batch_norm(
    recorder: Any,
    input: Symbol,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Symbol:
    """A scale, with kept statistics that are the same for every channel."""
    if training or running_mean is None:
        refuse("statistics of a batch have no rule. Expected LayerNorm or GroupNorm(1, C), or evaluation mode")
    numbers = [running_mean, running_var, *(t for t in (weight, bias) if t is not None)]
    if any(len(t) and bool((t != t[0]).any()) for t in numbers):
        refuse("kept statistics that differ from channel to channel have no rule. Expected LayerNorm, or uniform statistics")
    mean, variance, gain, shift = (1.0 if t is None else float(t[0]) for t in (running_mean, running_var, weight, bias))
    scale = gain / (variance + eps) ** 0.5
    state, constant = input.current() * scale, (0.0 if bias is None else shift) - mean * scale
    moved = state if constant == 0 else state.shifted(constant)
    if moved is None:
        refuse("a kept mean other than 0 of a value that is not Gaussian has no rule. Expected it after a Linear or Conv layer")
    return recorder.symbol(moved, input)


_T = torch.Tensor
_QUADRATURE: list[tuple[tuple, str, tuple[float, ...], bool | None]] = [
    ((F.tanh, torch.tanh, _T.tanh), "tanh", (), None),
    ((F.sigmoid, torch.sigmoid, _T.sigmoid), "sigmoid", (), None),
    ((F.silu,), "silu", (), None),
    ((F.mish,), "mish", (), None),
    ((F.softplus,), "softplus", (), None),
    ((F.logsigmoid,), "logsigmoid", (), None),
    ((F.relu6,), "relu6", (0.0, 6.0), None),
    ((F.hardtanh,), "hardtanh", (-1.0, 1.0), None),
    ((F.hardswish,), "hardswish", (-3.0, 3.0), None),
    ((F.hardsigmoid,), "hardsigmoid", (-3.0, 3.0), None),
    ((F.selu, torch.selu), "selu", (0.0,), None),
    ((F.softsign,), "softsign", (0.0,), False),
]


_POSITIONAL = {"softplus": ("beta", "threshold"), "hardtanh": ("min_val", "max_val"), "silu": ("inplace",), "mish": ("inplace",)}


def _generic(function: Callable, name: str, kinks: tuple[float, ...], kinked: bool | None) -> Callable:
    def build(*args: Any, **options: Any) -> Dual:
        options.update(zip(_POSITIONAL.get(name, ()), args, strict=False))
        if len(args) > len(_POSITIONAL.get(name, ())):
            refuse(f"{name} with positional options {args} has no rule; expected them by keyword")
        options.pop("inplace", None)
        if name == "hardtanh":
            ends = (float(options.get("min_val", -1.0)), float(options.get("max_val", 1.0)))
            return by_quadrature(function, ends, name, kinked, **options)
        return by_quadrature(function, kinks, name, kinked, **options)

    return _handler(build)


def _leaky(negative_slope: float = 0.01) -> Dual:
    return ABReLU(float(negative_slope), 1.0)


POINTWISE: dict[Any, Callable] = {
    **dict.fromkeys((F.relu, torch.relu, _T.relu), _handler(lambda: ABReLU(0.0, 1.0))),
    **dict.fromkeys((F.relu_, torch.relu_, _T.relu_), _handler(lambda: ABReLU(0.0, 1.0), in_place=True)),
    **dict.fromkeys((F.leaky_relu, torch._C._nn.leaky_relu), _handler(_leaky)),
    **dict.fromkeys((torch.abs, _T.abs, _T.__abs__, torch.absolute, _T.absolute), _handler(lambda: ABReLU(-1.0, 1.0))),
    **dict.fromkeys((_T.abs_,), _handler(lambda: ABReLU(-1.0, 1.0), in_place=True)),
    **dict.fromkeys((torch.sign, _T.sign), _handler(Sign)),
    **dict.fromkeys((torch.erf, _T.erf, torch.special.erf), _handler(Erf)),
    **dict.fromkeys((torch.sin, _T.sin), _handler(Sin)),
    **dict.fromkeys((torch.cos, _T.cos), _handler(lambda: Sin(1.0, 1.0, math.pi / 2))),
    **dict.fromkeys((torch.tanh_, _T.tanh_), _handler(lambda: by_quadrature(torch.tanh, (), "tanh"), in_place=True)),
    **dict.fromkeys((torch.sigmoid_, _T.sigmoid_), _handler(lambda: by_quadrature(torch.sigmoid, (), "sigmoid"), in_place=True)),
    F.gelu: _handler(_gelu),
    F.elu: _handler(_elu),
    **dict.fromkeys((torch.clamp, _T.clamp, torch.clip, _T.clip), _handler(_clamp)),
    **{f: _generic(fs[0], name, kinks, kinked) for fs, name, kinks, kinked in _QUADRATURE for f in fs},
    F.dropout: _dropout,
    F.layer_norm: _layer_norm,
    F.batch_norm: _batch_norm,
}
