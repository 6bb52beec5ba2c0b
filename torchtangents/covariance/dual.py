"""What a covariance rule needs to know about a function applied to every channel.

For centred Gaussians (u, v) with variances v1, v2 and covariance q, a `Dual` gives E f(u) f(v), E f'(u) f'(v)
and, where a kinked function follows, E (f(u) - f(v))^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .pair import Pair, as_column, floored
from .refusal import refuse

Scalar = float | Tensor


class Dual:
    """A scalar function and its expectations under Gaussians; subclasses give `function`, `nngp`, `slope`, `mean`."""

    kinked = False  # whether the slope jumps, so that near-equal inputs need the squared distance
    breakpoints: tuple[float, ...] = ()  # where the function is not analytic
    finite = True  # whether there is a function at all, and not only a kernel
    tabulates = True  # whether a table over all variances is as accurate as a formula; not where values span many orders

    def function(self, x: Tensor) -> Tensor:
        """f(x)."""
        raise NotImplementedError

    def nngp(self, pair: Pair) -> Tensor:
        """E f(u) f(v)."""
        raise NotImplementedError

    def slope(self, pair: Pair) -> Tensor:
        """E f'(u) f'(v)."""
        raise NotImplementedError

    def mean(self, v: Tensor) -> Tensor:
        """E f(u) for u of variance v."""
        raise NotImplementedError

    def check(self, v: Tensor) -> None:
        """Raise ValueError where the expectations do not exist for some of these variances."""

    def mean_slope(self, v: Tensor) -> Tensor:
        """E f'(u) for u of variance v, f' where it exists."""
        from .price import derivative
        from .quadrature import Quadrature

        return Quadrature(derivative(self.function), self.breakpoints, f"the slope of {self}").mean(v)

    def regression(self, v: Tensor) -> Tensor:
        """E u f(u) / v; by Stein's lemma E f'(u) where f does not jump."""
        return self.mean_slope(v)

    def uses_distance(self, asked: bool) -> bool:
        """Whether the argument's squared distance is needed, given whether the value's is."""
        return self.kinked or asked

    def distance(self, pair: Pair, out1: Tensor, out2: Tensor) -> Tensor:
        """E (f(u) - f(v))^2, given the second moments of both; smooth functions run in float64, where this is enough."""
        return floored(out1 + out2 - 2 * self.nngp(pair))

    def expectations(self, pair: Pair, out: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """E f f', E f' f' (None where it costs as much again: call `slope`), and `distance` given `out`, if it is."""
        return self.nngp(pair), None, None if out is None else self.distance(pair, *out)

    def gain(self, pair: Pair) -> Tensor:
        """E u f'(u) v f'(v), what a trained gain before f adds to the NTK."""
        from .price import derivative
        from .quadrature import Quadrature

        slope = derivative(self.function)
        return Quadrature(lambda u: u * slope(u), self.breakpoints, f"u f'(u) of {self}").nngp(pair)

    def __repr__(self) -> str:
        return type(self).__name__


class Line(Dual):
    """a f(x) + c: E (a f + c)(a f' + c) = a^2 E f f' + a c (E f + E f') + c^2."""

    def __init__(self, a: Scalar, inner: Dual, c: Scalar):
        self.a, self.inner, self.c = a, inner, c
        self.kinked, self.breakpoints = inner.kinked, inner.breakpoints
        self.finite, self.tabulates = inner.finite, inner.tabulates

    def check(self, v: Tensor) -> None:
        self.inner.check(v)

    def _constants(self, like: Tensor) -> tuple[Scalar, Scalar]:
        return as_column(self.a, like), as_column(self.c, like)

    def function(self, x: Tensor) -> Tensor:
        a, c = self._constants(x)
        return a * self.inner.function(x) + c

    def nngp(self, pair: Pair) -> Tensor:
        a, c = self._constants(pair.q)
        return a * a * self.inner.nngp(pair) + a * c * (self.inner.mean(pair.v1) + self.inner.mean(pair.v2)) + c * c

    def slope(self, pair: Pair) -> Tensor:
        a, _ = self._constants(pair.q)
        return a * a * self.inner.slope(pair)

    def mean(self, v: Tensor) -> Tensor:
        a, c = self._constants(v)
        return a * self.inner.mean(v) + c

    def mean_slope(self, v: Tensor) -> Tensor:
        return self._constants(v)[0] * self.inner.mean_slope(v)

    def regression(self, v: Tensor) -> Tensor:
        return self._constants(v)[0] * self.inner.regression(v)

    def gain(self, pair: Pair) -> Tensor:
        a, _ = self._constants(pair.q)
        return a * a * self.inner.gain(pair)

    def __repr__(self) -> str:
        return f"{self.a} {self.inner} + {self.c}"


def add(parts: Sequence[tuple[Scalar, Dual]]) -> Dual:
    """sum_k c_k f_k as one function: piecewise linear where all are, by quadrature otherwise."""
    from .kinked import ABReLU
    from .quadrature import Quadrature

    for _, f in parts:
        if not f.finite:
            refuse(f"adds {f} and another function of one value, and {f} is a kernel without a function")
    if all(type(f) is ABReLU for _, f in parts):
        return ABReLU(sum(c * f.a for c, f in parts), sum(c * f.b for c, f in parts))  # type: ignore[attr-defined]
    kinks = tuple(sorted({k for _, f in parts for k in f.breakpoints}))
    return Quadrature(
        lambda x: torch.stack([c * f.function(x) for c, f in parts]).sum(0),
        kinks,
        " + ".join(str(f) for _, f in parts),
        kinked=any(f.kinked for _, f in parts),
    )


def multiplied(first: tuple[Scalar, Dual], second: tuple[Scalar, Dual]) -> Dual:
    """c f(.) d g(.) as one function, by quadrature."""
    from .quadrature import Quadrature

    (c, f), (d, g) = first, second
    kinks = tuple(sorted({*f.breakpoints, *g.breakpoints}))
    return Quadrature(lambda x: (c * f.function(x)) * (d * g.function(x)), kinks, f"{f} * {g}", kinked=f.kinked or g.kinked)


def composed(outer: Dual, c: Scalar, inner: Dual) -> Dual:
    """outer(c inner(.)) of one Gaussian, where the kinks of `outer` can be traced back through `inner`."""
    from .kinked import ABReLU
    from .quadrature import Quadrature

    for f in (outer, inner):
        if not f.finite:
            refuse(f"{outer} of {inner}: {f} is a kernel without a function. Expected a Linear or Conv layer between the two")
    kinks = set(inner.breakpoints)
    if outer.breakpoints:
        scale, core, shift = (inner.a, inner.inner, inner.c) if isinstance(inner, Line) else (1.0, inner, 0.0)
        numbers = [c, scale, shift, *((core.a, core.b) if isinstance(core, ABReLU) else (None,))]
        if any(v is None or isinstance(v, Tensor) for v in numbers):
            refuse(f"{outer} of {inner}: its kinks are not known; wrap both in one tt.nn.Elementwise(fn, breakpoints=...)")
        low, high = core.a * c * scale, core.b * c * scale  # type: ignore[union-attr, operator]  # the slopes below and above 0
        if type(outer) is ABReLU and shift == 0:
            ends = [(outer.b if v > 0 else outer.a) * v for v in (-low, high)]
            return ABReLU(-ends[0], ends[1])
        for point in outer.breakpoints:
            rise = point - c * shift  # type: ignore[operator]
            kinks |= {rise / slope for slope, side in ((low, -1), (high, 1)) if slope and rise / slope * side > 0}
            kinks |= {0.0} if rise == 0 else set()
    return Quadrature(
        lambda x: outer.function(c * inner.function(x)),
        tuple(sorted(kinks)),
        f"{outer}({inner})",
        kinked=inner.kinked or outer.kinked,
    )
