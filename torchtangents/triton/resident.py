"""A whole run of layers on one packed plane a warp, in registers: windows by shuffles, then affine operations and ReLUs.

A packed plane (dy, dx) of a value of H x W positions pairs position p with (p + d) modulo its size, so that up to four planes
lie side by side and no lane is idle. Lane (ly, lx) holds R x C positions.
"""

import triton
import triton.language as tl

from .registers import added, beyond, box, filled, halved, kept, masks, multiplied, relus, scaled, spread, summed

INSTRUCTION = tl.constexpr(4)  # whole numbers: value to add, what is linear (see below), number of a ReLU, where to keep
COEFFICIENTS = tl.constexpr(8)  # weights of registers and of the value, scale, b2, grow, shift, level
AFFINE, WINDOW, FIRST = map(tl.constexpr, (1, 2, 3))  # FIRST: a window before which the tangent is 0
ENTRY, NOWHERE = map(tl.constexpr, (8, -16))  # as in spread.py
_NUMBERS = (
    "units", "planes", "columns", "slot_stride", "count", "steps", "channels", "groups", "last", "lines", "evens", "planes_out",
)  # fmt: skip


@triton.jit
def instructed(
    K, T, E, home, one, two, code, coefficients, rows, cols, west, east, north, south, slot_stride, steps, mask,
    R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr, V: tl.constexpr, ROW: tl.constexpr, ONE: tl.constexpr,
    TWO: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr, ADDS: tl.constexpr, KEEPS: tl.constexpr, SAME: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """What the instructions make of a covariance K, a tangent T and half a squared distance E."""
    LN: tl.constexpr = LY * LX
    n: tl.constexpr = R * C
    for step in range(steps):
        what = code + step * INSTRUCTION
        by = coefficients + step * COEFFICIENTS
        if ADDS:
            source = tl.load(what)
            if source >= 0:
                w = tl.load(by)
                v = tl.load(by + 1)
                at = home + source.to(tl.int64) * slot_stride
                K = added(K, at, w, v, n, LN)
                if NTK:
                    T = added(T, at + n * LN, w, v, n, LN)
                if EXACT:
                    E = added(E, at + (1 + NTK) * n * LN, w, v, n, LN)
        kind = tl.load(what + 1)
        if kind >= WINDOW:
            K = box(K, rows, cols, R, C, LY, LX, west, east, north, south)
            if EXACT:
                E = box(E, rows, cols, R, C, LY, LX, west, east, north, south)
        if NTK and kind == WINDOW:
            T = box(T, rows, cols, R, C, LY, LX, west, east, north, south)
        if kind >= AFFINE:
            scale = tl.load(by + 2)
            b2 = tl.load(by + 3)
            grow = tl.load(by + 4)
            shift = tl.load(by + 5)
            nK = ()
            nT = ()
            for e in tl.static_range(n):
                k = tl.fma(K[e], scale, b2)
                if SAME:
                    nT = nT + (tl.fma(T[e], scale, k),)
                else:
                    nT = nT + (tl.fma(T[e], scale, tl.fma(grow, K[e], shift)),)
                nK = nK + (k,)
            K = nK
            if NTK:
                T = nT
            if EXACT:
                E = scaled(E, scale, n)
        number = tl.load(what + 2)
        if number >= 0:
            level = tl.load(by + 6)
            K, T, E = relus(K, T, E, one + number * ONE, two + number * TWO, level, R, C, LN, V, ROW, NTK, EXACT, WIDE)
        if KEEPS:
            target = tl.load(what + 3)
            if target >= 0:
                at = home + target.to(tl.int64) * slot_stride
                kept(K, at, mask, n, LN)
                if NTK:
                    kept(T, at + n * LN, mask, n, LN)
                if EXACT:
                    kept(E, at + (1 + NTK) * n * LN, mask, n, LN)
    return K, T, E


@triton.jit(do_not_specialize=_NUMBERS)
def run(
    memory, out, table1, table2, plane, code, coefficients, units, planes, columns, slot_stride, count, steps, channels, groups,
    last, lines, evens, planes_out, weight,
    H: tl.constexpr, W: tl.constexpr, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr, LW: tl.constexpr,
    V: tl.constexpr, P: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr, ADDS: tl.constexpr, KEEPS: tl.constexpr,
    SAME: tl.constexpr, SUMS: tl.constexpr, HALVED: tl.constexpr, SPREAD: tl.constexpr, ODD: tl.constexpr,
    FRESH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The instructions on `units`, planes of pairs: unit u is plane u % planes of pair u // planes; a warp takes `groups`.

    table1, table2: `count` tables of every input (packing.py), first the channels of data, if any; memory: (values, units,
    fields, R, C, LN); SAME: every affine operation adds to the tangent what becomes of the covariance; SUMS: writes sums of
    planes, out (units, fields); HALVED: stores the result for pools of two, as value `last`; SPREAD: adds `weight` times it to
    packed planes of pools of two, out (pairs, planes_out, fields, R C LN / 4), where units are `lines` of each pair, of `groups`
    planes in `plane` (spread.py), the first `evens` of even columns and rows ODD or not; FRESH: nothing was there before.
    """
    LN: tl.constexpr = LY * LX
    n: tl.constexpr = R * C
    ROW: tl.constexpr = C * LN if V > 1 else 2 * C * LN
    ONE: tl.constexpr = n * LN
    TWO: tl.constexpr = 2 * R * ROW * (C if V > 1 else 1)
    SHIFT: tl.constexpr = 2 * R * ROW if V > 1 else LN
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    g = tl.arange(0, P * LW)
    ll = g % LW
    inside = ll < LN
    lane = tl.where(inside, ll, 0)
    west = tl.reshape(tl.where(ll > 0, ll - 1, 0), (P, LW))
    east = tl.reshape(tl.where(ll < LW - 1, ll + 1, ll), (P, LW))
    north = tl.reshape(tl.where(ll >= LX, ll - LX, ll), (P, LW))
    south = tl.reshape(tl.where(ll + LX < LW, ll + LX, ll), (P, LW))
    ly = lane // LX
    lx = lane % LX
    for group in range(groups):
        first = (tl.program_id(0) * groups + group) * P
        if SPREAD:
            line = tl.program_id(0) * P + g // LW
            mask = inside & (line < units)
            line = tl.minimum(line, units - 1)
            pair = line // lines
            at = plane + (line % lines * groups + group) * ENTRY
            unit = pair * planes + tl.load(at)
            dy = tl.load(at + 1)
            dx = tl.load(at + 2)
        else:
            unit = first + g // LW
            mask = inside & (unit < units)
            unit = tl.minimum(unit, units - 1)
            pair = unit // planes
            which = unit % planes
            dy = tl.load(plane + 2 * which)
            dx = tl.load(plane + 2 * which + 1)
        rows = masks(ly * R, dy, inside, R, H, dtype)
        cols = masks(lx * C, dx, inside, C, W, dtype)
        turned = ((ly + dy // R) % LY) * LX + (lx + dx // C) % LX
        one = table1 + (pair // columns).to(tl.int64) * (count * ONE) + lane * V
        two = table2 + (pair % columns).to(tl.int64) * (count * TWO) + (dy % R * ROW + dx % C * SHIFT + turned * V)
        K = filled((g * 0).to(dtype), n)
        T = K
        E = K
        for channel in range(channels):
            K, E = multiplied(K, E, one + channel * ONE, two + channel * TWO, R, C, LN, V, ROW, EXACT)
        if channels > 0:
            K = scaled(K, 1.0 / channels.to(dtype), n)
            if EXACT:
                E = scaled(E, 0.5 / channels.to(dtype), n)
        home = memory + unit.to(tl.int64) * ((1 + NTK + EXACT) * n * LN) + lane
        K, T, E = instructed(
            K, T, E, home, one + channels * ONE, two + channels * TWO, code, coefficients, rows, cols, west, east, north, south,
            slot_stride, steps, mask, R, C, LY, LX, V, ROW, ONE, TWO, NTK, EXACT, ADDS, KEEPS, SAME, WIDE,
        )  # fmt: skip
        if HALVED:
            at = home + last.to(tl.int64) * slot_stride
            halved(K, at, mask, dy % 2 > 0, dx % 2 > 0, R, C, LN)
            if NTK:
                halved(T, at + n * LN, mask, dy % 2 > 0, dx % 2 > 0, R, C, LN)
        if SUMS:
            into = first + tl.arange(0, P)
            to = out + into.to(tl.int64) * (1 + NTK)
            tl.store(to, summed(K, inside, P, LW, n), mask=into < units)
            if NTK:
                tl.store(to + 1, summed(T, inside, P, LW, n), mask=into < units)
        if SPREAD:
            codes = ()
            for i in tl.static_range(4):
                codes = codes + (tl.where(mask, tl.load(at + (4 + i)), NOWHERE),)
            low = beyond(ly * R, dy, R, H, 3, 12)
            left = beyond(lx * C, dx, C, W, 5, 10)
            to = out + pair.to(tl.int64) * planes_out * ((1 + NTK) * (n * LN // 4)) + lane
            field = (1 + NTK) * (n * LN // 4)
            if group < evens:
                spread(K, to, codes, field, low, left, weight, R, C, LN, ODD, False, FRESH)
                if NTK:
                    spread(T, to + n * LN // 4, codes, field, low, left, weight, R, C, LN, ODD, False, FRESH)
            else:
                spread(K, to, codes, field, low, left, weight, R, C, LN, ODD, True, FRESH)
                if NTK:
                    spread(T, to + n * LN // 4, codes, field, low, left, weight, R, C, LN, ODD, True, FRESH)
