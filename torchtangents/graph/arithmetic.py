"""Sums, differences and multiples of recorded values."""

from __future__ import annotations

from dataclasses import replace
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from ..covariance.laws import Input
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .symbol import Symbol


def _data(recorder: Any, value: Any, state: State, like: Symbol) -> Tensor:
    """Data of a shape that broadcasts to that of a recorded value: (N, C, *S)."""
    if any(len(group) > 1 for group in state.layout):
        refuse("joins data with a value whose axes were merged; expected that before the flatten")
    shape = (like.shape[0], *state.shape)
    constant = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if torch.broadcast_shapes(shape, constant.shape) != shape:
        refuse(f"joins a value of shape {tuple(shape)} with data of shape {tuple(constant.shape)}; expected one that broadcasts")
    return recorder.ordered(constant.expand(shape), state.layout)


def _broadcast(a: Symbol, b: Any) -> State:
    """The state of `a`, with axes of length 1 repeated as `b` asks for."""
    state, shape = a.current(), tuple(getattr(b, "shape", ()))
    shape = (*(1 for _ in range(a.ndim - len(shape))), *shape)
    for dim, (one, other) in enumerate(zip(a.shape, shape, strict=False)):
        if dim and one == 1 and other != 1:
            state = state.expand(dim - 1, other)
    return state


def _operands(recorder: Any, a: Any, b: Any) -> tuple[State, State, Symbol]:
    """Both terms of a sum, with axes of length 1 repeated; data become values."""
    like, other = (a, b) if isinstance(a, Symbol) else (b, a)
    state = _broadcast(like, other)
    if isinstance(other, Symbol):
        if other.ndim != like.ndim:
            refuse(f"expected both values with one number of axes, got {tuple(like.shape)} and {tuple(other.shape)}")
        return state, _broadcast(other, like), like
    data = State.of(Input(_data(recorder, other, state, like)), state.channels, state.layout)
    return state, replace(data, mask=state.mask), like


def _is_scalar(value: Any) -> bool:
    if isinstance(value, Symbol):
        return False
    return isinstance(value, Number) or (isinstance(value, Tensor) and value.ndim == 0)


def _added(recorder: Any, a: Any, b: Any, alpha: float = 1) -> tuple[State, Symbol]:
    if isinstance(a, Symbol) and _is_scalar(b):
        state = a.current()
        if isinstance(b, Number) and b == 0:
            return state, a
        moved = state.shifted((b if isinstance(b, Tensor) else float(b)) * alpha)  # type: ignore[arg-type]
        if moved is not None:
            return moved, a
    left, right, like = _operands(recorder, a, b)
    if not isinstance(a, Symbol):
        left, right = right, left
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


def _scaled(recorder: Any, input: Any, other: Any) -> tuple[State, Symbol]:
    value, c = (input, other) if isinstance(input, Symbol) else (other, input)
    if _is_scalar(c):
        return value.current() * (c if isinstance(c, Tensor) else float(c)), value
    if isinstance(c, Symbol):
        left, right, _ = _operands(recorder, value, c)
        return left * right, value
    state = _broadcast(value, c)
    factor = _data(recorder, c, state, value)
    if factor.shape[1] == 1 or factor.stride(1) == 0:  # one number for all channels: what is Gaussian stays so
        return state.weighted(factor[:, 0]), value
    return state * State.of(Input(factor), state.channels, state.layout), value


def _mul(recorder: Any, input: Any, other: Any) -> Symbol:
    return recorder.symbol(*_scaled(recorder, input, other))


def _mul_(recorder: Any, input: Symbol, other: Any) -> Symbol:
    if not isinstance(input, Symbol):
        refuse("multiplies plain data by a recorded value in place; expected an out-of-place product")
    return input.change(_scaled(recorder, input, other)[0])


def _inverse(other: Any) -> Any:
    if isinstance(other, Symbol):
        refuse("divides by a value that depends on random weights, which has no rule; expected a number or a tensor")
    if not isinstance(other, Tensor) and other == 0:
        raise ZeroDivisionError(placed("division of a value by 0"))
    return 1 / other


def _div(recorder: Any, input: Any, other: Any) -> Symbol:
    return _mul(recorder, input, _inverse(other))


def _div_(recorder: Any, input: Symbol, other: Any) -> Symbol:
    return _mul_(recorder, input, _inverse(other))


def _beside(recorder: Any, data: Any, like: Symbol, axis: int) -> State:
    """Data as more channels of a recorded value."""
    state = like.current()
    if any(len(group) > 1 for group in state.layout) or not isinstance(data, Tensor) or data.ndim != like.ndim:
        refuse("concatenates data with a value of other axes; expected data of the same number of axes, before any flatten")
    if [s for i, s in enumerate(data.shape) if i != axis] != [s for i, s in enumerate(like.shape) if i != axis]:
        raise ValueError(placed(f"expected the shape {tuple(like.shape)} but for axis {axis}, got {tuple(data.shape)}"))
    values = recorder.ordered(data.to(like.dtype), state.layout)
    return State.of(Input(values), values.shape[1], state.layout)


def _cat(recorder: Any, tensors: Any, dim: int = 0) -> Symbol:
    like = next(t for t in tensors if isinstance(t, Symbol))
    axis = dim % like.ndim
    states = [t.current() if isinstance(t, Symbol) else _beside(recorder, t, like, axis) for t in tensors]
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
