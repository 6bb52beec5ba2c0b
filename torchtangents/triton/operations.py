"""What is done to every position on its own, in Triton: the kinds of torchtangents/engine/operations.py.

A *place* of an operation in `consts` holds 6 numbers; in `slots` 2 x 8: where the per-input numbers that it reads begin among
those of one input, on both sides. Kinds are compile-time numbers, so a step's operations are straight code.
"""

import triton
import triton.language as tl

from .duals import erf, gelu, rbf, relu, sign, wave
from .table import tabled

CONSTANTS = tl.constexpr(6)
SLOTS = tl.constexpr(8)
AFFINE, RELU, SIGN, ERF, GELU, WAVE, RBF, TABLE, GAIN, NORMALIZE, DROPOUT, MEANS = map(tl.constexpr, range(12))
FOLDED = tl.constexpr(13)  # a ReLU with its constant factor in what reads it


@triton.jit
def left(one, slots, slot: tl.constexpr, p, mask):
    """A number of the first input at position p."""
    return tl.load(one + tl.load(slots + slot) + p, mask=mask, other=0.0)


@triton.jit
def right(two, slots, slot: tl.constexpr, q, mask):
    """A number of the second input at position q."""
    return tl.load(two + tl.load(slots + 8 + slot) + q, mask=mask, other=0.0)


@triton.jit
def operate(
    k, t, e, one, two, p, q, here0, here1, same, mask, slots, consts, tables,
    KINDS: tl.constexpr, COUNTS: tl.constexpr, N: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """All operations of a step. one, two: rows of per-input numbers; p, q: positions; here: whether a plane is not displaced
    along an axis; same: whether both inputs are one sample; COUNTS: how many slots each operation has."""
    for o in tl.static_range(N):
        c = consts + o * CONSTANTS
        s = slots + o * 2 * SLOTS
        if KINDS[o] == AFFINE:  # c = {scale, b2, grow, shift}
            scale = tl.load(c).to(k.dtype)
            if NTK:
                t = scale * t + (tl.load(c + 2).to(k.dtype) * k + tl.load(c + 3).to(k.dtype))
            k = scale * k + tl.load(c + 1).to(k.dtype)
            if EXACT:
                e = scale * e
        elif KINDS[o] <= TABLE or KINDS[o] == FOLDED:
            x = left(one, s, 0, p, mask).to(k.dtype)
            y = right(two, s, 0, q, mask).to(k.dtype)
            if KINDS[o] == RELU or KINDS[o] == FOLDED:
                k, t, e = relu(c, x, y, k, t, e, KINDS[o] == FOLDED, NTK, EXACT, WIDE)
            elif KINDS[o] == SIGN:
                k, t, e = sign(x, y, k, t, e, NTK, EXACT, WIDE)
            elif KINDS[o] == ERF:
                k, t = erf(c, x, y, k, t, NTK)
            elif KINDS[o] == GELU:
                k, t = gelu(x, y, k, t, NTK)
            elif KINDS[o] == WAVE:
                k, t = wave(c, x, y, k, t, NTK)
            elif KINDS[o] == RBF:
                k, t = rbf(c, x, y, k, t, NTK)
            else:
                k, t = tabled(c, tables, x, y, k, t, NTK)
        elif KINDS[o] == GAIN:  # c = {axis 0 counts, axis 1 counts}: K at equal positions of those axes
            if NTK:
                t += tl.where(equal(c, here0, here1), k, 0.0)
        elif KINDS[o] == NORMALIZE:
            k, t, e = normalize(k, t, e, one, two, p, q, here0, here1, mask, s, c, COUNTS[o] > 2, NTK, EXACT)
        elif KINDS[o] == DROPOUT:  # c = {1 / keep - 1}; slots: second moment v, where e is carried
            more = tl.load(c).to(k.dtype)
            one_sample = tl.where(same & here0 & here1, 1.0, 0.0).to(k.dtype)
            factor = 1.0 + more * one_sample
            k = k * factor
            if NTK:
                t = t * factor
            if EXACT and COUNTS[o] > 0:
                apart = (left(one, s, 0, p, mask) + right(two, s, 0, q, mask)).to(k.dtype) * 0.5
                e = e + more * (one_sample * e + (1.0 - one_sample) * apart)
        elif KINDS[o] == MEANS:
            k, e = means(k, e, one, two, p, q, mask, s, COUNTS[o], EXACT)
    return k, t, e


@triton.jit
def equal(c, here0, here1):
    """Whether positions are equal along the axes that c names."""
    return (here0 | (tl.load(c).to(tl.int32) == 0)) & (here1 | (tl.load(c + 1).to(tl.int32) == 0))


@triton.jit
def normalize(
    k, t, e, one, two, p, q, here0, here1, mask, s, c, CENTRE: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr
):  # fmt: skip
    """slots: scale r, second moment v, and where the mean is taken off shift, mean. c = {axes, axes, whether there is a bias}"""
    x = left(one, s, 0, p, mask).to(k.dtype)
    y = right(two, s, 0, q, mask).to(k.dtype)
    if CENTRE:
        c1 = left(one, s, 2, p, mask).to(k.dtype)
        c2 = right(two, s, 2, q, mask).to(k.dtype)
        m1 = left(one, s, 3, p, mask).to(k.dtype)
        m2 = right(two, s, 3, q, mask).to(k.dtype)
        k = k - c1 * m2 - m1 * c2 + c1 * c2
        if EXACT:
            e = tl.maximum(e - (c1 - c2) * ((m1 - m2) - (c1 - c2) * 0.5), 0.0)
    k = x * y * k
    if NTK:
        bias = equal(c, here0, here1) & (tl.load(c + 2).to(tl.int32) != 0)
        t = x * y * t + tl.where(bias, 1.0, 0.0).to(k.dtype)
    if EXACT:
        v1 = left(one, s, 1, p, mask).to(k.dtype)
        v2 = right(two, s, 1, q, mask).to(k.dtype)
        e = tl.maximum(x * y * e + (x - y) * (v1 * x - v2 * y) * 0.5, 0.0)
    return k, t, e


@triton.jit
def means(k, e, one, two, p, q, mask, s, COUNT: tl.constexpr, EXACT: tl.constexpr):
    """Independent branches with means m_k (slots): K += sum_{j != k} m_j m_k', e += sum_{j < k} dm_j dm_k."""
    total1 = tl.zeros_like(k)
    total2 = tl.zeros_like(k)
    products = tl.zeros_like(k)
    squares = tl.zeros_like(k)
    for j in tl.static_range(COUNT):
        a = left(one, s, j, p, mask).to(k.dtype)
        b = right(two, s, j, q, mask).to(k.dtype)
        total1 += a
        total2 += b
        products += a * b
        squares += (a - b) * (a - b)
    k += total1 * total2 - products
    if EXACT:
        e += ((total1 - total2) * (total1 - total2) - squares) * 0.5
    return k, e
