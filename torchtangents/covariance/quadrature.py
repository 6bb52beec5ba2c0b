"""Duals of any function, by numerical integration in rotated coordinates.

With phi = theta / 2 and independent standard normals z1, z2,

    u = x (cos(phi) z1 + sin(phi) z2),   v = +-y (cos(phi) z1 - sin(phi) z2)   (minus where q < 0),

so the integrand stays smooth as the two become equal. Analytic functions take the trapezoid rule, which converges
geometrically (Trefethen and Weideman 2014, SIAM Review 56); functions with kinks take Gauss-Legendre panels between
them. The spacing is chosen by convergence of E f and E f^2 in one dimension; no convergence is an error.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .dual import Dual
from .pair import Pair
from .panels import LIMIT, panel_rule, rotated_panels
from .price import Function, derivative, expected
from .refusal import placed
from .untied import untied

_TOLERANCE = 2e-10  # of the one-dimensional integrals; the two-dimensional ones stay below 1e-8
_FINER = math.sqrt(2)  # nodes for derivatives: the trapezoid rule's error is squared with twice the nodes
_BEYOND = 5e-9  # of E f^2 that may lie outside the nodes
_SPACINGS = [0.6 / 2 ** (k / 2) for k in range(13)]
_DIVISIONS = [1, 2, 3, 4, 6, 8, 12]
_BUDGET = 1 << 17  # integrand values at a time: they stay in cache


class Quadrature(Dual):
    """Any elementwise function; `breakpoints` are the arguments where it is not analytic."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        breakpoints: tuple[float, ...] = (),
        name: str = "function",
        *,
        kinked: bool = False,
    ):
        self._function, self._slope, self.name, self.kinked = function, derivative(function), name, kinked
        self.breakpoints = tuple(sorted(float(b) for b in breakpoints))

    def function(self, x: Tensor) -> Tensor:
        return self._function(x)

    def nngp(self, pair: Pair) -> Tensor:
        return self._integrate(self._function, pair, self.slope)

    def slope(self, pair: Pair) -> Tensor:
        bent = derivative(self._slope)
        curvature = functools.partial(self._rotated, self._slope, 1.0, bent, bent)
        return self._integrate(self._slope, pair, None if self.kinked else curvature)

    def mean(self, v: Tensor) -> Tensor:
        return self._expected(self._function, v)

    def mean_slope(self, v: Tensor) -> Tensor:
        return self._expected(self._slope, v)

    def regression(self, v: Tensor) -> Tensor:
        if not self.breakpoints:
            return self.mean_slope(v)
        moment = self._expected(lambda u: u * self._function(u), v)  # the function may jump
        return torch.where(v > 0, moment / torch.where(v > 0, v, 1), self.mean_slope(v))

    def _expected(self, function: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        """E function(u) for u of variance v."""
        if not v.numel():
            return v
        flat = Pair.equal(v.flatten().to(torch.float64)).x[:, None]
        z, w = self._line(function, flat)
        return (function(flat * z) * w).sum(-1).reshape(v.shape).to(v)

    def __repr__(self) -> str:
        return self.name

    def _line(self, function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and weights (M, K) in z for E f(x z), fine enough for f^2; x (M, 1)."""
        level = self._resolution(function, x)
        if not self.breakpoints:
            return _trapezoid(level, x)
        return panel_rule(_edges(self.breakpoints, x), int(level))

    def _resolution(self, function: Callable[[Tensor], Tensor], x: Tensor) -> float:
        """The coarsest spacing (or fewest divisions of a panel) at which E f and E f^2 have converged."""
        with torch.no_grad():
            scales = torch.quantile(x.detach().flatten()[:: max(1, x.numel() // 10000)], x.new_tensor([0.0, 0.5, 1.0]))
            scales = torch.cat([scales, x.detach().max().reshape(1)])[:, None]
            levels: list = _DIVISIONS if self.breakpoints else _SPACINGS
            previous = None
            for level in reversed(levels):
                nodes = panel_rule(_edges(self.breakpoints, scales), level) if self.breakpoints else _trapezoid(level, scales)
                f = function(scales * nodes[0])
                value = torch.stack([f, f * f]).mul(nodes[1]).sum(-1)  # f^2 alone hides the kink of |x|
                if previous is None:
                    best, previous = None, value
                    self._check_growth(function, scales, value[1])
                    size = torch.stack([value[1].sqrt(), value[1]])  # of the function itself, however small
                elif bool(((value - previous).abs() <= _TOLERANCE * size).all()):
                    best = level
                else:
                    break
        if best is None:
            raise ValueError(
                f"{placed(self.name)}: the integral over a Gaussian of standard deviation {float(scales.max()):.3g} does not "
                "converge to 1e-8. Expected a function that is analytic between its breakpoints and slowly growing; give the "
                "arguments where it has kinks as tt.nn.Elementwise(fn, breakpoints=...), or scale its input down."
            )
        return best

    def _check_growth(self, function: Callable[[Tensor], Tensor], scales: Tensor, power: Tensor) -> None:
        """Refuse where E f^2 has weight beyond the last node; scales (K, 1), power (K,)."""
        ends = function(scales * scales.new_tensor([-LIMIT, LIMIT])).square().sum(-1)
        beyond = ends * math.exp(-LIMIT * LIMIT / 2) / (LIMIT * math.sqrt(2 * math.pi))
        if not bool((beyond <= _BEYOND * power).all()):
            raise ValueError(
                f"{placed(self.name)}: grows so fast that a Gaussian of standard deviation {float(scales.max()):.3g} has "
                f"weight beyond {LIMIT:g} standard deviations. Expected a slowly growing function, a closed form (tt.nn.Exp, "
                "tt.nn.Polynomial, or nngp= of tt.nn.Elementwise), or a smaller scale"
            )

    def _integrate(self, function: Function, pair: Pair, slope: Callable[[Pair], Tensor] | None) -> Tensor:
        """E function(u) function(v), of which `slope` is the derivative by q; None where it has none at equal inputs."""
        rule = functools.partial(self._rotated, function, 1.0)
        if self.breakpoints:  # where a slope jumps, the second derivative is no function
            value = rule(function, function, pair)
            return value if slope is None else untied(value, pair, slope)
        return expected(function, pair, rule, functools.partial(self._rotated, function, _FINER))

    def _rotated(self, judged: Callable, finer: float, f: Callable, g: Callable, pair: Pair) -> Tensor:
        """E f(u) g(v) on the nodes that `judged`, of which both are derivatives, asks for, `finer` times as many."""
        shape, dtype = pair.shape, pair.q.dtype
        pair = pair.to(torch.float64)
        flip = torch.where(pair.q < 0, -1.0, 1.0).to(pair.q)
        phi = torch.where(pair.q < 0, math.pi - pair.theta, pair.theta) / 2
        x, y, cos, sin, flip = (t.expand(shape).reshape(-1, 1) for t in (pair.x, pair.y, phi.cos(), phi.sin(), flip))
        if not len(x):
            return pair.q.expand(shape).to(dtype)
        level = self._resolution(judged, torch.cat([x, y])) / finer
        run = functools.partial(self._piece, f, g, level)
        return in_pieces(run, [x, y, cos, sin, flip], max(1, _BUDGET // self._nodes(level))).reshape(shape).to(dtype)

    def _nodes(self, level: float) -> int:
        if not self.breakpoints:
            return (2 * math.ceil(LIMIT / level) + 1) ** 2
        n = len(self.breakpoints)
        return (n * n + 8 * n + 3) * (2 * n + 2) * (int(level) * 16) ** 2

    def _piece(
        self, f: Callable, g: Callable, level: float, x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, flip: Tensor
    ) -> Tensor:
        """The double integral for some pairs; every argument (M, 1)."""
        if self.breakpoints:
            z1, z2, w = rotated_panels(self.breakpoints, int(level), x, y * flip, cos, sin)
        else:
            z, weight = _trapezoid(level, x)
            z1, z2, w = z[..., None], z[..., None, :], weight[..., None] * weight[..., None, :]
        along, across = cos[..., None] * z1, sin[..., None] * z2
        value = f(x[..., None] * (along + across)) * g((flip * y)[..., None] * (along - across))
        return (value * w).sum((-2, -1))


def in_pieces(run: Callable[..., Tensor], columns: list[Tensor], size: int) -> Tensor:
    """run(*columns), some rows at a time, and recomputed for its derivative, so that memory stays small."""
    rows = len(columns[0])
    cuts = [slice(i, min(rows, i + size)) for i in range(0, rows, size)]
    if torch.is_grad_enabled() and any(t.requires_grad for t in columns):
        pieces = ([t[cut] for t in columns] for cut in cuts)
        return torch.cat([torch.utils.checkpoint.checkpoint(run, *piece, use_reentrant=False) for piece in pieces])
    out = columns[0].new_empty(rows)  # at once: small results between large temporaries keep an allocator from reusing those
    for cut in cuts:
        out[cut] = run(*(t[cut] for t in columns))
    return out


def _trapezoid(spacing: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """z and its weight under the standard normal, (1, K) each."""
    k = math.ceil(LIMIT / spacing)
    z = torch.from_numpy(np.arange(-k, k + 1) * spacing).to(like)[None]
    weight = torch.exp(-z * z / 2)
    return z, weight / weight.sum()


def _edges(breakpoints: tuple[float, ...], x: Tensor) -> Tensor:
    """Where a panel ends along z, for f(x z); sorted, (M, edges)."""
    safe = torch.where(x > 0, x, 1)
    inner = [(torch.as_tensor(b).to(x) / safe).clamp(-LIMIT, LIMIT) for b in (0.0, *breakpoints)]
    ends = [torch.full_like(x, -LIMIT), torch.full_like(x, LIMIT)]
    return torch.cat([*inner, *ends], -1).sort(-1).values
