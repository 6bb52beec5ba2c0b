"""Sums, differences and multiples of recorded values."""

from __future__ import annotations

from numbers import Number
from typing import Any

import torch
from torch import Tensor

from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .symbol import Symbol


def _operand(recorder: Any, value: Any, like: Symbol) -> State:
    """The other term of a sum: a recorded value, or data of a shape that broadcasts."""
    if isinstance(value, Symbol):
        if value.shape != like.shape:
            refuse(f"expected both terms with one shape, got {tuple(like.shape)} and {tuple(value.shape)}")
        return value.current()
    state = like.current()
    if any(len(group) != 1 for group in state.layout):
        refuse("adds data to a value whose axes were merged; expected the sum before the flatten")
    constant = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return recorder.data(constant.expand(like.shape), state.layout, state.mask).current()


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Symbol):
        return False
    return isinstance(value, Number) or (isinstance(value, Tensor) and value.ndim == 0)


def _added(recorder: Any, a: Any, b: Any, alpha: float = 1) -> tuple[State, Symbol]:
    like = a if isinstance(a, Symbol) else b
    left = a.current() if isinstance(a, Symbol) else _operand(recorder, a, like)
    if _is_scalar(b) and isinstance(b, Number) and b == 0:
        return left, like
    right = _operand(recorder, b, like)
    return left + (right if alpha == 1 else right * alpha), like


def _add(recorder: Any, input: Any, other: Any, *, alpha: float = 1) -> Symbol:
    state, like = _added(recorder, input, other, alpha)
    return recorder.symbol(state, like)


def _add_(recorder: Any, input: Any, other: Any, *, alpha: float = 1) -> Symbol:
    if not isinstance(input, Symbol):
        refuse("adds a recorded value to plain data in place; expected an out-of-place sum")
    return input.change(_added(recorder, input, other, alpha)[0])


def _sub(recorder: Any, input: Any, other: Any, *, alpha: float = 1) -> Symbol:
    return _add(recorder, input, other, alpha=-alpha)


def _sub_(recorder: Any, input: Any, other: Any, *, alpha: float = 1) -> Symbol:
    return _add_(recorder, input, other, alpha=-alpha)


def _rsub(recorder: Any, input: Any, other: Any) -> Symbol:
    return _add(recorder, _neg(recorder, input), other)


def _neg(recorder: Any, input: Symbol) -> Symbol:
    return recorder.symbol(input.current() * -1.0, input)


def _scaled(input: Any, other: Any) -> tuple[State, Symbol]:
    value, c = (input, other) if isinstance(input, Symbol) else (other, input)
    if not _is_scalar(c):
        refuse(
            "multiplies a recorded value by something that is not a number or a 0-dim tensor; products of two values and "
            "elementwise weights have no rule here"
        )
    return value.current() * (c if isinstance(c, Tensor) else float(c)), value


def _mul(recorder: Any, input: Any, other: Any) -> Symbol:
    return recorder.symbol(*_scaled(input, other))


def _mul_(recorder: Any, input: Symbol, other: Any) -> Symbol:
    return input.change(_scaled(input, other)[0])


def _inverse(other: Any) -> Any:
    if not _is_scalar(other):
        refuse("divides by something that is not a number or a 0-dim tensor")
    if not isinstance(other, Tensor) and other == 0:
        raise ZeroDivisionError(placed("division of a value by 0"))
    return 1 / other


def _div(recorder: Any, input: Any, other: Any) -> Symbol:
    return _mul(recorder, input, _inverse(other))


def _div_(recorder: Any, input: Symbol, other: Any) -> Symbol:
    return _mul_(recorder, input, _inverse(other))


def _cat(recorder: Any, tensors: Any, dim: int = 0) -> Symbol:
    like = next(t for t in tensors if isinstance(t, Symbol))
    states = []
    for t in tensors:
        if not isinstance(t, Symbol):
            refuse("concatenates data with recorded values; expected a Linear or Conv layer on the data first")
        states.append(t.current())
    axis = dim % like.ndim
    layouts = {s.layout for s in states}
    if len(layouts) != 1 or axis == 0 or states[0].layout[axis - 1] != (-1,):
        refuse(f"concatenates along axis {axis}; expected the channel axis, and one layout")
    if len({s.size for s in states}) != 1:
        raise ValueError(placed(f"expected one set of positions to concatenate, got {[s.size for s in states]}"))
    return recorder.symbol(State.cat(states), like)


_T = torch.Tensor
ARITHMETIC = {
    **dict.fromkeys((torch.add, _T.add, _T.__add__, _T.__radd__), _add),
    **dict.fromkeys((_T.add_, _T.__iadd__), _add_),
    **dict.fromkeys((torch.sub, torch.subtract, _T.sub, _T.__sub__), _sub),
    **dict.fromkeys((_T.sub_, _T.__isub__), _sub_),
    **dict.fromkeys((torch.rsub, _T.__rsub__), _rsub),
    **dict.fromkeys((torch.neg, _T.neg, _T.__neg__), _neg),
    **dict.fromkeys((torch.mul, torch.multiply, _T.mul, _T.__mul__, _T.__rmul__), _mul),
    **dict.fromkeys((_T.mul_, _T.__imul__), _mul_),
    **dict.fromkeys((torch.div, _T.div, _T.true_divide, _T.__truediv__, _T.__div__), _div),
    **dict.fromkeys((_T.div_, _T.__itruediv__), _div_),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _cat),
}
