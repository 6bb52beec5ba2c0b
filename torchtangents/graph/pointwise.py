"""Elementwise functions of torch on recorded values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..covariance import named
from ..covariance.dual import Dual
from ..covariance.exponential import Exp
from ..covariance.kinked import ABReLU, Sign
from ..covariance.polynomial import LARGEST, Polynomial
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
    return GELU() if approximate == "none" else named.gelu_tanh()


def _clamp(min: Any = None, max: Any = None) -> Dual:
    if not all(b is None or (isinstance(b, (int, float)) and not isinstance(b, bool)) for b in (min, max)):
        refuse("clamp between tensors has no rule; expected numbers")
    return named.clamp(*(None if b is None else float(b) for b in (min, max)), "clamp")


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Dual:
    return named.clamp(float(min_val), float(max_val), "Hardtanh")


def _leaky(negative_slope: float = 0.01) -> Dual:
    return ABReLU(float(negative_slope), 1.0)


def _rrelu(lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Dual:
    if training:
        refuse("rrelu in training draws a slope for every element, which has no rule; expected eval(), or tt.nn.LeakyReLU")
    return ABReLU((lower + upper) / 2, 1.0)


def _monomial(exponent: Any) -> Dual:
    number = exponent.item() if isinstance(exponent, torch.Tensor) and exponent.ndim == 0 else exponent
    if not isinstance(number, (int, float)) or isinstance(number, bool) or number != int(number) or not 0 <= number <= LARGEST:
        refuse(f"a power with the exponent {exponent} has no rule; expected a whole number from 0 to {LARGEST}")
    n = int(number)
    return ABReLU(1.0, 1.0) if n == 1 else Polynomial([0.0] * n + [1.0])


def _power(recorder: Any, input: Any, exponent: Any) -> Symbol:
    """x ** n, or c ** x = exp(x log c)."""
    if isinstance(input, Symbol):
        if isinstance(exponent, Symbol):
            refuse("a power of one recorded value by another has no rule; expected a whole number as the exponent")
        return recorder.symbol(input.current().apply(_monomial(exponent)), input)
    base = float(input)
    if not base > 0:
        refuse(f"{base} to the power of a value has no rule; expected a positive base")
    return recorder.symbol(exponent.current().apply(Exp(1.0, math.log(base))), exponent)


def _power_(recorder: Any, input: Symbol, exponent: Any) -> Symbol:
    return input.change(_power(recorder, input, exponent).current())


def _dropout(recorder: Any, input: Symbol, p: float = 0.5, training: bool = True, inplace: bool = False) -> Symbol:
    state = input.current()
    state = state.dropout(1 - p) if training else state
    return input.change(state) if inplace else recorder.symbol(state, input)


_T = torch.Tensor


def _smooth(function: Callable, name: str) -> Callable[[], Dual]:
    """An analytic function of one argument, by quadrature."""
    return lambda: named.by_quadrature(function, (), name)


# Functions by their name in torch: torch.f, Tensor.f, F.f, torch.special.f, and f_ in place, wherever they exist.
_NAMED: dict[str, Callable[..., Dual]] = {
    **dict.fromkeys(("abs", "absolute", "__abs__"), lambda: ABReLU(-1.0, 1.0)),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    **dict.fromkeys(("sigmoid", "expit"), named.sigmoid),
    "relu": lambda: ABReLU(0.0, 1.0),
    "leaky_relu": _leaky,
    "rrelu": _rrelu,
    "clamp_min": lambda min: _clamp(min, None),
    "clamp_max": lambda max: _clamp(None, max),
    "hardtanh": _hardtanh,
    "relu6": lambda: named.clamp(0.0, 6.0, "ReLU6"),
    "hardswish": named.hardswish,
    "hardsigmoid": named.hardsigmoid,
    "softshrink": lambda lambd=0.5: named.softshrink(float(lambd)),
    "elu": lambda alpha=1.0: named.elu(float(alpha)),
    "selu": named.selu,
    "celu": lambda alpha=1.0: named.celu(float(alpha)),
    "gelu": _gelu,
    "tanh": named.tanh,
    "silu": named.silu,
    "mish": named.mish,
    "softplus": lambda beta=1.0, threshold=20.0: named.softplus(float(beta), float(threshold)),
    "logsigmoid": named.log_sigmoid,
    "softsign": named.softsign,
    "tanhshrink": named.tanhshrink,
    "sign": Sign,
    "sgn": Sign,
    "erf": Erf,
    "erfc": lambda: Erf(-1.0, 1.0, 1.0),
    "sin": Sin,
    "cos": lambda: Sin(1.0, 1.0, math.pi / 2),
    "exp": Exp,
    "exp2": lambda: Exp(1.0, math.log(2.0)),
    "expm1": _smooth(torch.expm1, "expm1"),
    "square": lambda: Polynomial((0.0, 0.0, 1.0)),
    **{f: _smooth(getattr(torch, f), f) for f in ("atan", "arctan", "asinh", "arcsinh", "sinh", "cosh", "sinc")},
}
_HOLDERS = (torch, _T, F, torch.special, torch._C._nn)


def _entries() -> dict[Any, Callable]:
    out: dict[Any, Callable] = {}
    for name, build in _NAMED.items():
        for holder in _HOLDERS:
            for place, in_place in ((name, False), (f"{name}_", True)):
                function = getattr(holder, place, None)
                if function is not None:
                    out[function] = _handler(build, in_place)
    return out


POINTWISE: dict[Any, Callable] = {
    **_entries(),
    **dict.fromkeys((torch.pow, _T.pow, _T.__pow__), _power),
    _T.__rpow__: lambda recorder, exponent, base: _power(recorder, base, exponent),
    **dict.fromkeys((_T.pow_, _T.__ipow__), _power_),
    F.dropout: _dropout,
}
