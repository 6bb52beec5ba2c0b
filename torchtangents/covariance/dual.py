"""What a covariance rule needs to know about a function applied to every channel.

For centred Gaussians (u, v) with variances v1, v2 and covariance q, a `Dual` gives E f(u) f(v), E f'(u) f'(v)
and, where a kinked function follows, E (f(u) - f(v))^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .pair import Pair
from .refusal import refuse


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

    def uses_distance(self, asked: bool) -> bool:
        """Whether the argument's squared distance is needed, given whether the value's is."""
        return self.kinked or asked

    def distance(self, pair: Pair, out1: Tensor, out2: Tensor) -> Tensor:
        """E (f(u) - f(v))^2, given the second moments of both; smooth functions run in float64, where this is enough."""
        return (out1 + out2 - 2 * self.nngp(pair)).clamp_min(0)

    def gain(self, pair: Pair) -> Tensor:
        """E u f'(u) v f'(v), what a trained gain before f adds to the NTK."""
        from .quadrature import Quadrature, derivative

        slope = derivative(self.function)
        return Quadrature(lambda u: u * slope(u), self.breakpoints, f"u f'(u) of {self}").nngp(pair)

    def __repr__(self) -> str:
        return type(self).__name__


def add(parts: Sequence[tuple[float | Tensor, Dual]]) -> Dual:
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
