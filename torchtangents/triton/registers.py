"""Values in registers: R x C positions of every lane of a warp, as tuples; windows by shuffles, tables, and sums.

Lanes are (LY, LX), of LW that a plane takes; packing.py has the layouts of memory.
"""

import triton
import triton.language as tl

from .duals import relu_core


@triton.jit
def beside(x, lane):
    """The values of other lanes of the same plane."""
    return tl.reshape(tl.gather(tl.reshape(x, lane.shape), lane, 1), x.shape)


@triton.jit
def sums(x, n: tl.constexpr, masks, before, after, HALO: tl.constexpr):
    """Sums of three along a tuple of n; masks[i] is 0 where i - 1 and i are on different planes or outside."""
    out = ()
    for i in tl.static_range(n):
        total = x[i]
        if i > 0:
            total = tl.fma(masks[i], x[i - 1], total)
        elif HALO:
            total = tl.fma(masks[0], before, total)
        if i < n - 1:
            total = tl.fma(masks[i + 1], x[i + 1], total)
        elif HALO:
            total = tl.fma(masks[n], after, total)
        out = out + (total,)
    return out


@triton.jit
def box(
    value, rows, columns, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr, west, east, north, south
):  # fmt: skip
    """Sums over 3 x 3 windows that stay on the plane."""
    across = ()
    for r in tl.static_range(R):
        if LX > 1:
            left = beside(value[r * C + C - 1], west)
            right = beside(value[r * C], east)
            across = across + sums(value[r * C : r * C + C], C, columns, left, right, True)
        else:
            across = across + sums(value[r * C : r * C + C], C, columns, value[0], value[0], False)
    down = ()
    for c in tl.static_range(C):
        column = ()
        for r in tl.static_range(R):
            column = column + (across[r * C + c],)
        if LY > 1:
            down = down + sums(column, R, rows, beside(column[R - 1], north), beside(column[0], south), True)
        else:
            down = down + sums(column, R, rows, column[0], column[0], False)
    out = ()
    for r in tl.static_range(R):
        for c in tl.static_range(C):
            out = out + (down[c * R + r],)
    return out


@triton.jit
def masks(at, d, inside, n: tl.constexpr, SIZE: tl.constexpr, dtype: tl.constexpr):
    """1 where positions at + i - 1 and at + i of an axis are on one plane of displacement d, 0 elsewhere, for i = 0..n."""
    out = (tl.where(inside & (at > 0) & (at + d != SIZE), 1.0, 0.0).to(dtype),)
    for i in tl.static_range(1, n):
        out = out + (tl.where(at + i + d != SIZE, 1.0, 0.0).to(dtype),)
    return out + (tl.where(inside & (at + n < SIZE) & (at + n + d != SIZE), 1.0, 0.0).to(dtype),)


@triton.jit
def line(at, C: tl.constexpr, LN: tl.constexpr, V: tl.constexpr):
    """C numbers of every lane of a table, V of them beside each other."""
    out = ()
    for c in tl.static_range(0, C, V):
        if V == 1:
            out = out + (tl.load(at + c * LN),)
        elif V == 2:
            first, second = tl.split(tl.load((at + c * LN)[:, None] + tl.arange(0, 2)[None, :]))
            out = out + (first, second)
        else:
            four = tl.load((at + c * LN)[:, None] + tl.arange(0, 4)[None, :])
            even, odd = tl.split(tl.reshape(four, (at.shape[0], 2, 2)))
            first, third = tl.split(even)
            second, fourth = tl.split(odd)
            out = out + (first, second, third, fourth)
    return out


@triton.jit
def relus(
    K, T, E, one, two, level, R: tl.constexpr, C: tl.constexpr, LN: tl.constexpr, V: tl.constexpr, ROW: tl.constexpr,
    NTK: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A ReLU at every position, with the standard deviations of two tables; ROW: of the second."""
    nK = ()
    nT = ()
    nE = ()
    for r in tl.static_range(R):
        x = line(one + r * (C * LN), C, LN, V)
        y = line(two + r * ROW, C, LN, V)
        for c in tl.static_range(C):
            k, t, e = relu_core(level, 1.0, x[c], y[c], K[r * C + c], T[r * C + c], E[r * C + c], NTK, EXACT, WIDE)
            nK = nK + (k,)
            nT = nT + (t,)
            nE = nE + (e,)
    return nK, nT, nE


@triton.jit
def multiplied(
    K, E, one, two, R: tl.constexpr, C: tl.constexpr, LN: tl.constexpr, V: tl.constexpr, ROW: tl.constexpr, EXACT: tl.constexpr
):  # fmt: skip
    """Adds products of data to K, and squared differences to E."""
    nK = ()
    nE = ()
    for r in tl.static_range(R):
        x = line(one + r * (C * LN), C, LN, V)
        y = line(two + r * ROW, C, LN, V)
        for c in tl.static_range(C):
            nK = nK + (tl.fma(x[c], y[c], K[r * C + c]),)
            nE = nE + (tl.fma(x[c] - y[c], x[c] - y[c], E[r * C + c]),)
    if not EXACT:
        nE = E
    return nK, nE


@triton.jit
def scaled(value, by, n: tl.constexpr):
    """Times a number."""
    out = ()
    for e in tl.static_range(n):
        out = out + (value[e] * by,)
    return out


@triton.jit
def filled(x, n: tl.constexpr):
    """The same at every position."""
    out = ()
    for _ in tl.static_range(n):
        out = out + (x,)
    return out


@triton.jit
def added(value, at, w, v, n: tl.constexpr, LN: tl.constexpr):
    """w value + v what is stored."""
    out = ()
    for e in tl.static_range(n):
        out = out + (w * value[e] + v * tl.load(at + e * LN),)
    return out


@triton.jit
def kept(value, at, mask, n: tl.constexpr, LN: tl.constexpr):
    """Stores a plane."""
    for e in tl.static_range(n):
        tl.store(at + e * LN, value[e], mask=mask)


@triton.jit
def halved(value, at, mask, odd0, odd1, R: tl.constexpr, C: tl.constexpr, LN: tl.constexpr):
    """Stores a plane for pools of two: of an even displacement only sums of positions 2i and 2i + 1, along each axis."""
    even0 = tl.where(odd0, 0.0, 1.0).to(value[0].dtype)
    even1 = tl.where(odd1, 0.0, 1.0).to(value[0].dtype)
    for r in tl.static_range(0, R, 2):
        for c in tl.static_range(0, C, 2):
            left = tl.fma(even0, value[r * C + c + C], value[r * C + c])
            right = tl.fma(even0, value[r * C + c + C + 1], value[r * C + c + 1])
            below = tl.fma(even1, value[r * C + c + C + 1], value[r * C + c + C])
            to = at + (r * C + c) * LN
            tl.store(to, tl.fma(even1, right, left), mask=mask)
            tl.store(to + LN, right, mask=mask & odd1)
            tl.store(to + C * LN, below, mask=mask & odd0)
            tl.store(to + (C + 1) * LN, value[r * C + c + C + 1], mask=mask & odd0 & odd1)


@triton.jit
def spread(
    value, out, codes, field, rows, cols, weight, R: tl.constexpr, C: tl.constexpr, LN: tl.constexpr, ODD0: tl.constexpr,
    ODD1: tl.constexpr, FRESH: tl.constexpr,
):  # fmt: skip
    """Adds weight times a plane, of a displacement that is odd along an axis or not, to the planes that pools of two make of it.
    FRESH: where neither is odd, it begins them.

    codes: 16 times each of these planes and, beside each other, what of four planes counts there (spread.py); rows, cols: bits
    of the planes that a position's row and column lie on; out: of a pair and lane; field: numbers of a pooled plane.
    """
    for r in tl.static_range(0, R, 2):
        for c in tl.static_range(0, C, 2):
            at = (r * C // 4 + c // 2) * LN
            left = value[r * C + c]
            right = value[r * C + c + 1]
            below = value[r * C + C + c]
            last = value[r * C + C + c + 1]
            if not ODD0:
                left += below
                right += last
            elif not ODD1:
                below += last
            if not ODD1:
                left += right
            pooled(left, out, codes[0], field, at, rows[r] & cols[c], weight, FRESH and not ODD0 and not ODD1)
            if ODD1:
                pooled(right, out, codes[1], field, at, rows[r] & cols[c + 1], weight, False)
            if ODD0:
                pooled(below, out, codes[2], field, at, rows[r + 1] & cols[c], weight, False)
            if ODD0 and ODD1:
                pooled(last, out, codes[3], field, at, rows[r + 1] & cols[c + 1], weight, False)


@triton.jit
def pooled(value, out, code, field, at: tl.constexpr, bits, weight, FRESH: tl.constexpr):
    """Adds to an entry of a pooled plane what counts there, or begins it; adding 0 takes less than a branch around it."""
    there = tl.where((code & bits) != 0, weight * value, 0.0)
    to = out + (tl.maximum(code, 0) >> 4).to(tl.int64) * field + at
    if FRESH:
        tl.store(to, there, mask=code >= 0)
    else:
        tl.atomic_add(to, there, sem="relaxed")


@triton.jit
def beyond(at, d, n: tl.constexpr, SIZE: tl.constexpr, here: tl.constexpr, there: tl.constexpr):
    """Bits of the planes that positions at + i lie on, before and after the end of an axis."""
    out = ()
    for i in tl.static_range(n):
        out = out + (tl.where(at + i + d < SIZE, here, there),)
    return out


@triton.jit
def summed(value, on, P: tl.constexpr, LW: tl.constexpr, n: tl.constexpr):
    """The sum over every plane, (P,)."""
    of_lane = value[0]
    for e in tl.static_range(1, n):
        of_lane += value[e]
    return tl.sum(tl.reshape(tl.where(on, of_lane, 0.0), (P, LW)), 1)
