"""Normalisation functions of torch on recorded values, without weights: those have a law in layers only."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..covariance.refusal import refuse
from ..nn.normalization import check_shape, group_norm
from .symbol import Symbol


def _plain(name: str, layer: str, *weights: Any) -> None:
    if any(w is not None for w in weights):
        refuse(f"{name} with a fixed weight or bias has no rule; expected tt.nn.{layer}, or no weight and no bias")


def _layer_norm(
    recorder: Any, input: Symbol, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Symbol:
    _plain("layer_norm", "LayerNorm", weight, bias)
    state = input.current()
    return recorder.symbol(state.normalize(check_shape(state, _shape(normalized_shape)), eps, gain=False, bias=False), input)


def _rms_norm(recorder: Any, input: Symbol, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Symbol:
    _plain("rms_norm", "RMSNorm", weight)
    state, least = input.current(), torch.finfo(input.dtype).eps if eps is None else eps
    dims = check_shape(state, _shape(normalized_shape))
    return recorder.symbol(state.normalize(dims, least, center=False, gain=False, bias=False), input)


def _group_norm(recorder: Any, input: Symbol, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Symbol:
    _plain("group_norm", "GroupNorm", weight, bias)
    return recorder.symbol(group_norm(input.current(), num_groups, eps, affine=False), input)


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


def _shape(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


NORMALIZATION = {
    F.layer_norm: _layer_norm,
    **dict.fromkeys((F.rms_norm, torch.rms_norm), _rms_norm),
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
}
