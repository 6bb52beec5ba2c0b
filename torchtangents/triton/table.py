"""Functions without a closed form in Triton, from the tables of torchtangents/engine/interpolation.py."""

import triton
import triton.language as tl

from .duals import PI, angle, ratio


@triton.jit
def stretched(c, x):
    """A standard deviation as the tables' argument."""
    return (x / (3.0 + x) - tl.load(c + 2)) * tl.load(c + 3)


@triton.jit
def contracted(h, orders, angles, a, b, turn):
    """sum_rks H[r, k, s] T_r(a) T_k(turn) T_s(b): recurrences in r and s, Clenshaw's in k."""
    total = tl.zeros_like(turn)
    a0 = tl.zeros_like(turn) + 1.0
    a1 = a + tl.zeros_like(turn)
    for r in range(orders):
        b0 = tl.zeros_like(turn) + 1.0
        b1 = b + tl.zeros_like(turn)
        for s in range(orders):
            one = tl.zeros_like(turn)
            two = tl.zeros_like(turn)
            for back in range(angles):
                order = angles - 1 - back
                coefficient = tl.load(h + (r * angles + order) * orders + s)
                double = tl.where(order > 0, 2.0, 1.0)
                new = double * turn * one - two + coefficient
                two = one
                one = new
            total += a0 * b0 * one
            b2 = 2.0 * b * b1 - b0
            b0 = b1
            b1 = b2
        a2 = 2.0 * a * a1 - a0
        a0 = a1
        a1 = a2
    return total


@triton.jit
def tabled(c, tables, x, y, k, t, NTK: tl.constexpr):
    """K' = value(x, y, theta), Theta' = Theta slope(x, y, theta). c = {R, K, centre, scale, where its tables start}"""
    orders = tl.load(c).to(tl.int32)
    angles = tl.load(c + 1).to(tl.int32)
    value = tables + tl.load(c + 4).to(tl.int64)
    _, _, _, _, h, u = angle(x, y, k, k, False, True)
    acute = h * ratio(u, True)
    turn = tl.where(k < 0, PI - acute, acute) * (2 / PI) - 1.0
    a = stretched(c, x)
    b = stretched(c, y)
    if NTK:
        t = t * contracted(value + orders * angles * orders, orders, angles, a, b, turn)
    return contracted(value, orders, angles, a, b, turn), t
