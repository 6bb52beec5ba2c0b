"""Tables of E f f' and E f' f' for functions that have no closed form, as csrc evaluates them.

With stretched standard deviations a = x / (3 + x), b = y / (3 + y), scaled to [-1, 1] over the range that the data
take, and the angle scaled to t = 2 theta / pi - 1, the table is the sum over r, k, s of C[r, k, s] T_r(a) T_k(t) T_s(b).
Chebyshev interpolation converges geometrically for functions that are analytic, or have kinks at 0 only (Trefethen 2013,
Approximation Theory and Approximation Practice, chapter 8). Every table is checked between its nodes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..covariance.dual import Dual
from ..covariance.node import Node
from ..covariance.pair import Pair
from ..covariance.refusal import NotNative

_DEVIATIONS = (1, 4, 6, 8, 10, 12, 15, 18, 22, 27, 32)  # orders that are tried
_ANGLES = (8, 12, 16, 20, 24, 32, 48, 64)
_BEND = 3.0  # standard deviation at which the argument begins to saturate
_STEPS = 64  # of that argument, for ranges
_TAIL = 1e-9  # of the largest value: last coefficients that may be left out
_ERROR = 5e-9  # between the nodes; the quadrature itself is right to 1e-8
_CHECKS = 256
_LEAST = 1e-3  # of the largest standard deviation: one as small meets 5e-8 in a function that vanishes at 0


@dataclass(frozen=True)
class Interpolant:
    """Both tables of one function over a range of standard deviations."""

    centre: float
    scale: float  # a = (x / (3 + x) - centre) * scale
    value: Tensor  # (R, K, R)
    slope: Tensor  # (R, K, R)

    @property
    def constants(self) -> tuple[float, ...]:
        """As csrc takes them: R, K, centre, scale, then both tables."""
        r, k, _ = self.value.shape
        return (float(r), float(k), self.centre, self.scale, *self.value.flatten().tolist(), *self.slope.flatten().tolist())

    def at(self, x: Tensor, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(E f f', E f' f') of some pairs, (M,) each."""
        a, b = ((v / (_BEND + v) - self.centre) * self.scale for v in (x, y))
        r, k, _ = self.value.shape
        parts = _polynomials(a, r), _polynomials(2 * theta / math.pi - 1, k), _polynomials(b, r)
        first, angle, second = parts
        value, slope = (((first @ c.flatten(1)).view(-1, k, r) * second[:, None]).sum(-1) for c in (self.value, self.slope))
        return (value * angle).sum(-1), (slope * angle).sum(-1)


Interpolants = dict[Node, Interpolant]
BLANK = Interpolant(0.0, 0.0, torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64))


def interpolant(dual: Dual, low: float, high: float, least: float | None = None) -> Interpolant:
    """The tables of a function for standard deviations in [low, high]; raises `NotNative` where none is accurate.

    `least`: the smallest that is not 0, by default `low`.
    """
    least = low if least is None else least
    if not dual.tabulates:
        raise NotNative(f"{dual}: its closed form has no compiled rule, and a table would lose small variances")
    ends = [x / (_BEND + x) for x in (low, high)]
    if not (1 + ends[1]) / 2 < 1:  # rounded, or not a number: infinitely large
        raise NotNative(f"{dual}: no table is accurate for standard deviations up to {high:.3g}")
    if 0 < least < _LEAST * high and not bool(dual.function(torch.zeros(1))):  # k is about low^2, below a table's error
        raise NotNative(f"{dual}: a table would lose standard deviations as small as {least:.3g} beside {high:.3g}")
    equal = ends[1] - ends[0] <= 1e-12 * ends[1]
    if any(dual.breakpoints) and not equal:  # a kink away from 0 makes a layer where two deviations are close
        raise NotNative(f"{dual}: no table is accurate for standard deviations from {low:.3g} to {high:.3g}")
    if not equal:  # a little wider, so that other data find it in the cache
        ends = [math.floor(ends[0] * _STEPS) / _STEPS, math.ceil(ends[1] * _STEPS) / _STEPS]
        ends[1] = min(ends[1], (1 + high / (_BEND + high)) / 2)
    with torch.no_grad():
        return _found(dual, *ends)


@functools.lru_cache(maxsize=128)
def _found(dual: Dual, first: float, last: float) -> Interpolant:
    low, high = (_BEND * a / (1 - a) for a in (first, last))
    centre, width = (first + last) / 2, (last - first) / 2
    scale = 0.0 if width <= 1e-12 * last else 1 / (width * (1 + 1e-9))
    i = 0 if not scale else next((i for i, n in enumerate(_DEVIATIONS) if i and _ends(_across(dual, centre, scale, n))), None)
    j = next((j for j, n in enumerate(_ANGLES) if _ends(_along(dual, low, high, n))), None)
    for more in range(2):
        if i is None or j is None or i + more >= len(_DEVIATIONS) or j + more >= len(_ANGLES):
            break
        table = _table(dual, centre, scale, _DEVIATIONS[i + (more if scale else 0)], _ANGLES[j + more])
        if _checked(dual, table, low, high):
            return table
    raise NotNative(f"{dual}: no table is accurate for standard deviations from {low:.3g} to {high:.3g}")


def _both(dual: Dual, pair: Pair) -> Tensor:
    """(E f f', E f' f'), (2, ..)."""
    return torch.stack([dual.nngp(pair), dual.slope(pair)])


def _across(dual: Dual, centre: float, scale: float, n: int) -> Tensor:
    """Coefficients along a standard deviation, for some of the other and some angles, (.., n)."""
    x = _deviations(_nodes(n), centre, scale)
    y = _deviations(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64), centre, scale)
    theta = torch.tensor([0.01, 1.0, 3.0], dtype=torch.float64)
    return _both(dual, _pair(x, theta[:, None], y[:, None, None])) @ _transform(n).T


def _along(dual: Dual, low: float, high: float, n: int) -> Tensor:
    """Coefficients along the angle, for some standard deviations, (.., n)."""
    x = torch.tensor([low, low, math.sqrt(low * high), high], dtype=torch.float64)[:, None]
    y = torch.tensor([low, high, high, high], dtype=torch.float64)[:, None]
    return _both(dual, _pair(x, _angles(n), y)) @ _transform(n).T


def _ends(c: Tensor) -> bool:
    """Whether the last coefficients can be left out."""
    size = c.abs().flatten(1).max(1).values.reshape(2, *[1] * (c.ndim - 1))
    return bool((c[..., -2:].abs() <= _TAIL * size).all())


def _table(dual: Dual, centre: float, scale: float, r: int, k: int) -> Interpolant:
    x = _deviations(_nodes(r), centre, scale)
    one, two = torch.triu_indices(r, r)  # symmetric in both
    upper = _both(dual, _pair(x[one], _angles(k)[:, None], x[two]))  # (2, K, pairs)
    whole = upper.new_empty(2, r, k, r)
    whole[:, one, :, two] = whole[:, two, :, one] = upper.permute(2, 0, 1)
    parts = torch.einsum("ai,nijk->najk", _transform(r), whole @ _transform(r).T)
    parts = torch.einsum("bj,najk->nabk", _transform(k), parts)
    return Interpolant(centre, scale, parts[0], parts[1])


def _deviations(a: Tensor, centre: float, scale: float) -> Tensor:
    """Standard deviations at scaled arguments of the table."""
    stretched = centre + (a / scale if scale else 0 * a)
    return _BEND * stretched / (1 - stretched)


def _angles(n: int) -> Tensor:
    return (_nodes(n) + 1) * (math.pi / 2)


def _pair(x: Tensor, theta: Tensor, y: Tensor) -> Pair:
    gap = 4 * x * y * torch.sin(theta / 2) ** 2
    return Pair(x * x, y * y, x * y * torch.cos(theta), (x - y) ** 2 + gap)


def _nodes(n: int) -> Tensor:
    return torch.cos(math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n)


def _polynomials(x: Tensor, n: int) -> Tensor:
    """T_0 .. T_{n-1} at x, (M,) -> (M, n)."""
    return torch.cos(torch.arange(n, dtype=torch.float64) * torch.acos(x.clamp(-1, 1))[:, None])


def _transform(n: int) -> Tensor:
    """From values at the nodes to coefficients, (n, n)."""
    out = _polynomials(_nodes(n), n).T * (2 / n)
    out[0] /= 2
    return out


def _checked(dual: Dual, table: Interpolant, low: float, high: float) -> bool:
    """Whether the table agrees with the integral at random pairs, many of them close."""
    generator = torch.Generator().manual_seed(0)
    u, v, w = torch.rand(3, _CHECKS, generator=generator, dtype=torch.float64)
    x = low + (high - low) * u
    y = torch.where(w < 0.5, (x + (high - low) * (v - 0.5) ** 3).clamp(low, high), low + (high - low) * v)
    theta = math.pi * torch.rand(_CHECKS, generator=generator, dtype=torch.float64) ** 3
    pair = _pair(x, theta, y)
    exact = dual.nngp(pair), dual.slope(pair)
    return all(bool(((a - b).abs() <= _ERROR * b.abs().max()).all()) for a, b in zip(table.at(x, y, theta), exact, strict=True))
