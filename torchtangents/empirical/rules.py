"""Functions of torch whose dependence on their parameters has a structure.

A rule gets the recorder and the function's arguments; it computes the output with the parameters held fixed and says how the
output depends on them, and on which feature. It returns None where it does not apply.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .uses import Convolution, Known, Product, Spread, Table, Transposed, Use


class Capture(NamedTuple):
    """An output, the feature that each use needs (None for none), and the uses."""

    output: Tensor
    uses: list[tuple[Use, Tensor | None]]


class Lookup(Protocol):
    """What a rule asks of the recorder."""

    def known(self, value: Any) -> Known | None:
        """The parameter that a value is."""
        ...

    def fixed(self, value: Any) -> Any:
        """The value without a derivative where it is a parameter."""
        ...


Rule = Callable[..., Capture | None]


def _linear(at: Lookup, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Capture | None:
    if at.known(input):
        return None
    out = F.linear(input, at.fixed(weight), at.fixed(bias))
    w = at.known(weight)
    return Capture(out, [*([(Product(w), input)] if w and weight.ndim == 2 else []), *_shift(at, bias)])


def _shift(at: Lookup, bias: Tensor | None, axes: int = 0, sign: float = 1.0) -> list[tuple[Use, Tensor | None]]:
    """A bias that is added along an axis with `axes` after it."""
    b = at.known(bias)
    return [(Spread(b, (*bias.shape, *(1,) * axes), sign), None)] if b and bias is not None else []


def _addmm(at: Lookup, input: Tensor, mat1: Tensor, mat2: Tensor) -> Capture | None:
    if at.known(mat1):
        return None
    out = torch.addmm(at.fixed(input), mat1, at.fixed(mat2))
    return Capture(out, [*_shift(at, input), *_right(at, mat1, mat2)])


def _right(at: Lookup, x: Tensor, weight: Tensor) -> list[tuple[Use, Tensor | None]]:
    """A matrix (I, O) that multiplies from the right."""
    w = at.known(weight)
    return [(Product(Known(w.name, w.parameter, w.factor, not w.transposed)), x)] if w else []


def _matmul(at: Lookup, input: Tensor, other: Tensor) -> Capture | None:
    if at.known(input) or other.ndim != 2:
        return None
    return Capture(torch.matmul(input, at.fixed(other)), _right(at, input, other))


def _each(value: Any, n: int) -> tuple[int, ...]:
    value = (value,) if isinstance(value, numbers.Integral) else tuple(value)
    return tuple(value) * n if len(value) == 1 else tuple(value)


def _convolution(n: int, function: Callable) -> Rule:
    def rule(
        at: Lookup, input: Tensor, weight: Tensor, bias: Tensor | None = None,
        stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    ) -> Capture | None:  # fmt: skip
        if at.known(input):
            return None
        out = function(input, at.fixed(weight), at.fixed(bias), stride, padding, dilation, groups)
        kernel, d = tuple(weight.shape[2:]), _each(dilation, n)
        if isinstance(padding, str):
            totals = [0 if padding == "valid" else b * (k - 1) for k, b in zip(kernel, d, strict=True)]
            pads = tuple((t // 2, t - t // 2) for t in totals)
        else:
            pads = tuple((p, p) for p in _each(padding, n))
        w = at.known(weight)
        uses = [(Convolution(w, kernel, _each(stride, n), pads, d, groups), input)] if w else []
        return Capture(out, [*uses, *_shift(at, bias, n)])  # type: ignore[list-item]

    return rule


def _transposed(n: int, function: Callable) -> Rule:
    def rule(
        at: Lookup, input: Tensor, weight: Tensor, bias: Tensor | None = None,
        stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Capture | None:  # fmt: skip
        if at.known(input):
            return None
        out = function(input, at.fixed(weight), at.fixed(bias), stride, padding, output_padding, groups, dilation)
        pads = tuple((p, p) for p in _each(padding, n))
        w = at.known(weight)
        kernel = tuple(weight.shape[2:])
        uses = [(Transposed(w, kernel, _each(stride, n), pads, _each(dilation, n), groups), input)] if w else []
        return Capture(out, [*uses, *_shift(at, bias, n)])  # type: ignore[list-item]

    return rule


def _embedding(
    at: Lookup, input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Capture | None:  # fmt: skip
    w = at.known(weight)
    if w is None or w.transposed or max_norm is not None or scale_grad_by_freq:
        return None
    if padding_idx is not None:
        padding_idx = padding_idx % len(weight)
    return Capture(F.embedding(input, at.fixed(weight), padding_idx), [(Table(w, padding_idx), input)])


def _scaled(at: Lookup, x: Tensor, weight: Tensor | None, bias: Tensor | None, axes: int) -> Capture:
    """x * weight + bias along an axis with `axes` after it."""

    def shaped(p: Tensor) -> Tensor:
        return at.fixed(p).reshape(*p.shape, *(1,) * axes)

    w = at.known(weight)
    uses: list = [(Spread(w, (*weight.shape, *(1,) * axes)), x)] if w and weight is not None else []
    out = x if weight is None else x * shaped(weight)
    return Capture(out if bias is None else out + shaped(bias), [*uses, *_shift(at, bias, axes)])


def _layer_norm(at, input, normalized_shape, weight=None, bias=None, eps=1e-5):
    return None if at.known(input) else _scaled(at, F.layer_norm(input, normalized_shape, None, None, eps), weight, bias, 0)


def _rms_norm(at, input, normalized_shape, weight=None, eps=None):
    return None if at.known(input) else _scaled(at, F.rms_norm(input, normalized_shape, None, eps), weight, None, 0)


def _group_norm(at, input, num_groups, weight=None, bias=None, eps=1e-5):
    if at.known(input):
        return None
    return _scaled(at, F.group_norm(input, num_groups, None, None, eps), weight, bias, input.ndim - 2)


def _batch_norm(at, input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training or running_mean is None or at.known(input) or at.known(running_mean) or at.known(running_var):
        return None
    axes = input.ndim - 2
    mean, scale = (s.reshape(-1, *(1,) * axes) for s in (running_mean, (running_var + eps).rsqrt()))
    capture = _scaled(at, ((input - mean) * scale).detach(), weight, bias, axes)
    slope = scale if weight is None else scale * at.fixed(weight).reshape(scale.shape)
    shift = -mean * slope if bias is None else at.fixed(bias).reshape(scale.shape) - mean * slope
    return Capture(input * slope + shift, capture.uses)  # one product a cotangent, not two


def _instance_norm(
    at, input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    if not use_input_stats:
        return _batch_norm(at, input, running_mean, running_var, weight, bias, False, momentum, eps)
    if at.known(input) or running_mean is not None:
        return None
    return _scaled(at, F.instance_norm(input, eps=eps), weight, bias, input.ndim - 2)


def _sum(sign: float) -> Rule:
    def rule(at: Lookup, input: Any, other: Any, *, alpha: float = 1) -> Capture | None:
        pair = [(input, 1.0), (other, sign * alpha)]
        if not all(isinstance(v, Tensor) for v, _ in pair):
            return None
        out = torch.add(at.fixed(input), at.fixed(other), alpha=sign * alpha)
        return Capture(out, [(Spread(k, tuple(v.shape), float(s)), None) for v, s in pair if (k := at.known(v))])

    return rule


def _product(at: Lookup, input: Any, other: Any) -> Capture | None:
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)) or (at.known(input) and at.known(other)):
        return None
    p, x = (input, other) if at.known(input) else (other, input)
    k = at.known(p)
    assert k is not None
    return Capture(at.fixed(p) * x, [(Spread(k, tuple(p.shape)), x)])


def _expand(at: Lookup, input: Tensor, *sizes: Any) -> Capture | None:
    sizes = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    k = at.known(input)
    return Capture(at.fixed(input).expand(*sizes).clone(), [(Spread(k, tuple(input.shape)), None)]) if k else None


RULES: dict[Callable, Rule] = {
    F.linear: _linear,
    torch.addmm: _addmm,
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__), _matmul),
    **{f: _convolution(n, f) for n, f in ((1, F.conv1d), (2, F.conv2d), (3, F.conv3d))},
    **{f: _transposed(n, f) for n, f in ((1, F.conv_transpose1d), (2, F.conv_transpose2d), (3, F.conv_transpose3d))},
    F.embedding: _embedding,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
    F.instance_norm: _instance_norm,
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _sum(1.0)),
    **dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__), _sum(-1.0)),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _product),
    Tensor.expand: _expand,
}
