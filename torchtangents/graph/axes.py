"""Reshapes and permutations of recorded values, which only move tags; padding and resizing."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from ..covariance.layout import normalize_dim
from ..covariance.refusal import placed, refuse
from ..covariance.resize import resize
from ..nn.padding import padded
from .symbol import Symbol


def _numbers(values: tuple) -> tuple[int, ...]:
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], (tuple, list, torch.Size)) else tuple(values)


def _flatten(recorder: Any, input: Symbol, start_dim: int = 0, end_dim: int = -1) -> Symbol:
    start, end = (normalize_dim(d, input.ndim) - 1 for d in (start_dim, end_dim))
    return recorder.symbol(input.current().flatten(start, end), input, view=True)


def _reshape(recorder: Any, input: Symbol, *shape: Any, **kwargs: Any) -> Symbol:
    target = list(_numbers(shape or tuple(kwargs.values())))
    if target.count(-1) == 1:
        known = math.prod(s for s in target if s != -1)
        if len(input):
            target[target.index(-1)] = input.numel() // max(known, 1)
        elif target[0] == -1:
            target[0] = 0
        else:
            target[target.index(-1)] = math.prod(input.shape[1:]) // max(math.prod(s for s in target[1:] if s != -1), 1)
    if not target or target[0] != input.shape[0]:
        refuse(f"a reshape of {tuple(input.shape)} to {tuple(target)} mixes inputs of the batch; expected axis 0 to stay")
    return recorder.symbol(input.current().reshape(tuple(target[1:])), input, view=True)


def _unflatten(recorder: Any, input: Symbol, dim: int, sizes: Any) -> Symbol:
    at = normalize_dim(dim, input.ndim)
    return _reshape(recorder, input, (*input.shape[:at], *sizes, *input.shape[at + 1 :]))


def _permute(recorder: Any, input: Symbol, *dims: Any, **kwargs: Any) -> Symbol:
    order = [normalize_dim(d, input.ndim) for d in _numbers(dims or tuple(kwargs.values()))]
    if sorted(order) != list(range(input.ndim)):
        raise ValueError(placed(f"expected a permutation of {input.ndim} axes, got {order}"))
    if order[0] != 0:
        refuse("a permutation moves the batch axis; expected it to stay first")
    return recorder.symbol(input.current().permute(d - 1 for d in order[1:]), input, view=True)


def _transpose(recorder: Any, input: Symbol, dim0: int, dim1: int) -> Symbol:
    order = list(range(input.ndim))
    a, b = normalize_dim(dim0, input.ndim), normalize_dim(dim1, input.ndim)
    order[a], order[b] = b, a
    return _permute(recorder, input, order)


def _matrix_transpose(recorder: Any, input: Symbol) -> Symbol:
    return _transpose(recorder, input, -2, -1)


def _movedim(recorder: Any, input: Symbol, source: int, destination: int) -> Symbol:
    order = list(range(input.ndim))
    order.insert(normalize_dim(destination, input.ndim), order.pop(normalize_dim(source, input.ndim)))
    return _permute(recorder, input, order)


def _squeeze(recorder: Any, input: Symbol, dim: Any = None) -> Symbol:
    dims = range(1, input.ndim) if dim is None else (dim if isinstance(dim, (tuple, list)) else (dim,))
    at = tuple(d - 1 for d in (normalize_dim(d, input.ndim) for d in dims) if d and input.shape[d] == 1)
    if dim is None and input.shape[0] == 1:
        refuse("x.squeeze() removes the batch axis when there is one input; expected squeeze(dim)")
    return recorder.symbol(input.current().squeeze(at), input, view=True)


def _unsqueeze(recorder: Any, input: Symbol, dim: int) -> Symbol:
    at = dim % (input.ndim + 1)
    return _reshape(recorder, input, (*input.shape[:at], 1, *input.shape[at:]))


def _pad(recorder: Any, input: Symbol, pad: Any, mode: str = "constant", value: float | None = None) -> Symbol:
    if mode not in ("constant", "circular", "reflect", "replicate") or (mode == "constant" and value):
        refuse(f"padding with mode={mode!r}, value={value} has no rule; expected zeros, 'circular', 'reflect' or 'replicate'")
    state = padded(input.current(), tuple(pad), "zeros" if mode == "constant" else mode)
    return recorder.symbol(state, input)


def _interpolate(recorder: Any, input: Symbol, *args: Any, **kwargs: Any) -> Symbol:
    return recorder.symbol(resize(input.current(), *args, **kwargs), input)


def _same(recorder: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(input, Symbol):
        return recorder.symbol(input.current(), input)
    like = next(a for a in (*args, *kwargs.values()) if isinstance(a, Symbol))  # constant.to(x)
    return input.to(device=like.device, dtype=like.dtype)


_T = torch.Tensor
AXES = {
    **dict.fromkeys((torch.flatten, _T.flatten), _flatten),
    **dict.fromkeys((torch.reshape, _T.reshape, _T.view), _reshape),
    **dict.fromkeys((torch.unflatten, _T.unflatten), _unflatten),
    **dict.fromkeys((torch.permute, _T.permute), _permute),
    **dict.fromkeys((torch.transpose, _T.transpose, torch.swapaxes, _T.swapaxes), _transpose),
    _T.mT.__get__: _matrix_transpose,
    **dict.fromkeys((torch.movedim, _T.movedim), _movedim),
    **dict.fromkeys((torch.squeeze, _T.squeeze), _squeeze),
    **dict.fromkeys((torch.unsqueeze, _T.unsqueeze), _unsqueeze),
    **dict.fromkeys((F.pad, torch._C._nn.pad), _pad),
    F.interpolate: _interpolate,
    **dict.fromkeys((torch.clone, _T.clone, _T.contiguous, _T.to, _T.type_as, _T.float, _T.double), _same),
}
