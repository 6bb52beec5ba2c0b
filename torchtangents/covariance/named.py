"""The duals of torch's named functions, made once so that equal functions of one value, and their tables, are recognised."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .dual import Dual
from .exponential_linear import ExponentialLinear
from .kinked import ABReLU
from .polynomial import Polynomial
from .quadrature import Quadrature
from .refusal import placed
from .spline import Spline

_SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
_EXACT = 40.0  # a threshold of Softplus from where the line below agrees to rounding


@functools.lru_cache(maxsize=256)
def by_quadrature(
    function: Callable[..., Tensor], breakpoints: tuple[float, ...], name: str, kinked: bool | None = None, **options: object
) -> Quadrature:
    """The dual of function(x, **options); its slope jumps at the breakpoints unless `kinked` says otherwise."""
    fixed = functools.partial(function, **options) if options else function
    return Quadrature(fixed, breakpoints, name, kinked=bool(breakpoints) if kinked is None else kinked)


def tanh() -> Dual:
    """tanh(x)."""
    return by_quadrature(torch.tanh, (), "Tanh")


def sigmoid() -> Dual:
    """1 / (1 + exp(-x))."""
    return by_quadrature(torch.sigmoid, (), "Sigmoid")


def silu() -> Dual:
    """x / (1 + exp(-x))."""
    return by_quadrature(F.silu, (), "SiLU")


def mish() -> Dual:
    """x tanh(log(1 + exp(x)))."""
    return by_quadrature(F.mish, (), "Mish")


def gelu_tanh() -> Dual:
    """GELU by tanh."""
    return by_quadrature(F.gelu, (), "GELU(tanh)", approximate="tanh")


def log_sigmoid() -> Dual:
    """-log(1 + exp(-x))."""
    return by_quadrature(F.logsigmoid, (), "LogSigmoid")


def softsign() -> Dual:
    """x / (1 + |x|): its second derivative jumps at 0."""
    return by_quadrature(F.softsign, (0.0,), "Softsign", False)


def tanhshrink() -> Dual:
    """x - tanh(x): about x^3 / 3 near 0, so that a table would lose small inputs."""
    dual = by_quadrature(F.tanhshrink, (), "Tanhshrink")
    dual.tabulates = False
    return dual


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Dual:
    """log(1 + exp(beta x)) / beta, and x from beta x = threshold on; the jump there is 2e-9 at torch's own threshold."""
    if not beta > 0:
        raise ValueError(placed(f"expected softplus with beta > 0, got {beta}"))
    if threshold >= 20:
        return by_quadrature(F.softplus, (), "Softplus", beta=float(beta), threshold=max(float(threshold), _EXACT))
    return by_quadrature(F.softplus, (threshold / beta,), "Softplus", beta=float(beta), threshold=float(threshold))


@functools.lru_cache(maxsize=256)
def clamp(low: float | None, high: float | None, name: str) -> Dual:
    """min(max(x, low), high); None is no bound."""
    if low is not None and high is not None and low >= high:
        return Polynomial((high,))  # as torch
    ends = [b for b in (low, high) if b is not None]
    if not ends:
        return ABReLU(1.0, 1.0)
    if ends == [0.0]:
        return ABReLU(0.0, 1.0) if high is None else ABReLU(1.0, 0.0)
    pieces = [p for p in ((low,), (0.0, 1.0), (high,)) if p != (None,)]
    return Spline(ends, pieces, name)


@functools.lru_cache(maxsize=1)
def hardswish() -> Dual:
    """x min(max(x + 3, 0), 6) / 6."""
    return Spline((-3.0, 3.0), ((0.0,), (0.0, 0.5, 1 / 6), (0.0, 1.0)), "Hardswish")


@functools.lru_cache(maxsize=1)
def hardsigmoid() -> Dual:
    """min(max(x / 6 + 1 / 2, 0), 1)."""
    return Spline((-3.0, 3.0), ((0.0,), (0.5, 1 / 6), (1.0,)), "Hardsigmoid")


@functools.lru_cache(maxsize=256)
def softshrink(lambd: float = 0.5) -> Dual:
    """x - lambd above lambd, x + lambd below -lambd, 0 between."""
    if not lambd >= 0:
        raise ValueError(placed(f"expected softshrink with lambd >= 0, got {lambd}"))
    if lambd == 0:
        return ABReLU(1.0, 1.0)
    return Spline((-lambd, lambd), ((lambd, 1.0), (0.0,), (-lambd, 1.0)), "Softshrink")


@functools.lru_cache(maxsize=256)
def elu(alpha: float = 1.0) -> Dual:
    """x above 0, alpha (exp(x) - 1) below."""
    return ExponentialLinear(1.0, float(alpha), 1.0, "ELU")


@functools.lru_cache(maxsize=1)
def selu() -> Dual:
    """1.0507 (x above 0, 1.6733 (exp(x) - 1) below)."""
    scale, alpha = _SELU
    return ExponentialLinear(scale, scale * alpha, 1.0, "SELU")


@functools.lru_cache(maxsize=256)
def celu(alpha: float = 1.0) -> Dual:
    """x above 0, alpha (exp(x / alpha) - 1) below."""
    if not alpha > 0 or math.isinf(alpha):
        raise ValueError(placed(f"expected celu with a finite alpha > 0, got {alpha}"))
    return ExponentialLinear(1.0, float(alpha), 1 / float(alpha), "CELU")
