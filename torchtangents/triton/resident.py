"""A whole run of layers on one packed plane a warp, in registers: windows by shuffles, then affine operations and ReLUs.

A packed plane (dy, dx) of a value of H x W positions pairs position p with (p + d) modulo its size, so that up to four planes
lie side by side and no lane is idle. Lane (ly, lx) holds R x C positions as a tuple; packing.py has the layout of memory.
"""

import triton
import triton.language as tl

from .duals import relu_core

INSTRUCTION = tl.constexpr(4)  # whole numbers: value to add, 1 affine or 2 window and affine, number of a ReLU, where to keep
COEFFICIENTS = tl.constexpr(8)  # weights of registers and of the value, scale, b2, grow, shift, level


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
def added(value, at, w, v, R: tl.constexpr, C: tl.constexpr, LN: tl.constexpr):
    """w value + v what is stored."""
    out = ()
    for e in tl.static_range(R * C):
        out = out + (w * value[e] + v * tl.load(at + e * LN),)
    return out


@triton.jit
def summed(value, on, P: tl.constexpr, LW: tl.constexpr, n: tl.constexpr):
    """The sum over every plane, (P,)."""
    of_lane = value[0]
    for e in tl.static_range(1, n):
        of_lane += value[e]
    return tl.sum(tl.reshape(tl.where(on, of_lane, 0.0), (P, LW)), 1)


@triton.jit
def run(
    memory, sums_of, table1, table2, plane, code, coefficients, units, planes, columns, slot_stride, count, steps, channels,
    H: tl.constexpr, W: tl.constexpr, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr, LW: tl.constexpr,
    P: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr, ADDS: tl.constexpr, KEEPS: tl.constexpr, SAME: tl.constexpr,
    SUMS: tl.constexpr,
):  # fmt: skip
    """The instructions on `units`, planes of pairs: unit u is plane u % planes of pair u // planes.

    table1, table2: (inputs, numbers, 2R, 2C, LN), first the channels of data, if any; memory: (values, units, fields, R, C, LN);
    SAME: every affine operation adds to the tangent what becomes of the covariance; SUMS: writes sums of planes, (units, fields).
    """
    LN: tl.constexpr = LY * LX
    TABLE: tl.constexpr = 4 * R * C * LN
    FIELDS: tl.constexpr = 1 + NTK + EXACT
    g = tl.arange(0, P * LW)
    unit = tl.program_id(0) * P + g // LW
    there = unit < units
    unit = tl.minimum(unit, units - 1)
    ll = g % LW
    on = ll < LN
    lane = tl.where(on, ll, 0)
    pair = unit // planes
    which = unit % planes
    dy = tl.load(plane + 2 * which)
    dx = tl.load(plane + 2 * which + 1)
    ly = lane // LX
    lx = lane % LX
    y = ly * R
    x = lx * C
    rows = (tl.where(on & (y > 0) & (y + dy != H), 1.0, 0.0),)
    for r in tl.static_range(1, R):
        rows = rows + (tl.where(y + r + dy != H, 1.0, 0.0),)
    rows = rows + (tl.where(on & (y + R < H) & (y + R + dy != H), 1.0, 0.0),)
    cols = (tl.where(on & (x > 0) & (x + dx != W), 1.0, 0.0),)
    for c in tl.static_range(1, C):
        cols = cols + (tl.where(x + c + dx != W, 1.0, 0.0),)
    cols = cols + (tl.where(on & (x + C < W) & (x + C + dx != W), 1.0, 0.0),)
    west = tl.reshape(tl.where(ll > 0, ll - 1, 0), (P, LW))
    east = tl.reshape(tl.where(ll < LW - 1, ll + 1, ll), (P, LW))
    north = tl.reshape(tl.where(ll >= LX, ll - LX, ll), (P, LW))
    south = tl.reshape(tl.where(ll + LX < LW, ll + LX, ll), (P, LW))
    one = table1 + (pair // columns).to(tl.int64) * count * TABLE + lane
    turned = ((ly + dy // R) % LY) * LX + (lx + dx // C) % LX
    two = table2 + (pair % columns).to(tl.int64) * count * TABLE + ((dy % R) * 2 * C + dx % C) * LN + turned
    zero = (g * 0).to(tl.float32)
    K = ()
    T = ()
    E = ()
    for e in tl.static_range(R * C):
        K = K + (zero,)
        T = T + (zero,)
        E = E + (zero,)
    if channels > 0:
        part = 1.0 / channels
        for _ in range(channels):
            nK = ()
            nE = ()
            for r in tl.static_range(R):
                for c in tl.static_range(C):
                    u = tl.load(one + (r * 2 * C + c) * LN)
                    v = tl.load(two + (r * 2 * C + c) * LN)
                    nK = nK + (tl.fma(u, v, K[r * C + c]),)
                    nE = nE + (tl.fma(u - v, u - v, E[r * C + c]),)
            K = nK
            if EXACT:
                E = nE
            one += TABLE
            two += TABLE
        nK = ()
        nE = ()
        for e in tl.static_range(R * C):
            nK = nK + (K[e] * part,)
            nE = nE + (E[e] * (0.5 * part),)
        K = nK
        if EXACT:
            E = nE
    home = memory + unit.to(tl.int64) * (FIELDS * R * C * LN) + lane
    for step in range(steps):
        what = code + step * INSTRUCTION
        by = coefficients + step * COEFFICIENTS
        if ADDS:
            source = tl.load(what)
            if source >= 0:
                w = tl.load(by)
                v = tl.load(by + 1)
                at = home + source.to(tl.int64) * slot_stride
                K = added(K, at, w, v, R, C, LN)
                if NTK:
                    T = added(T, at + R * C * LN, w, v, R, C, LN)
                if EXACT:
                    E = added(E, at + (1 + NTK) * R * C * LN, w, v, R, C, LN)
        kind = tl.load(what + 1)
        if kind == 2:
            K = box(K, rows, cols, R, C, LY, LX, west, east, north, south)
            if NTK:
                T = box(T, rows, cols, R, C, LY, LX, west, east, north, south)
            if EXACT:
                E = box(E, rows, cols, R, C, LY, LX, west, east, north, south)
        if kind > 0:
            scale = tl.load(by + 2)
            b2 = tl.load(by + 3)
            grow = tl.load(by + 4)
            shift = tl.load(by + 5)
            nK = ()
            nT = ()
            nE = ()
            for e in tl.static_range(R * C):
                k0 = tl.fma(K[e], scale, b2)
                if SAME:
                    nT = nT + (tl.fma(T[e], scale, k0),)
                else:
                    nT = nT + (tl.fma(T[e], scale, tl.fma(grow, K[e], shift)),)
                nK = nK + (k0,)
                nE = nE + (scale * E[e],)
            K = nK
            if NTK:
                T = nT
            if EXACT:
                E = nE
        number = tl.load(what + 2)
        if number >= 0:
            level = tl.load(by + 6)
            p = one + number * TABLE
            q = two + number * TABLE
            nK = ()
            nT = ()
            nE = ()
            for r in tl.static_range(R):
                for c in tl.static_range(C):
                    k1, t1, e1 = relu_core(
                        level, 1.0, tl.load(p + (r * 2 * C + c) * LN), tl.load(q + (r * 2 * C + c) * LN), K[r * C + c],
                        T[r * C + c], E[r * C + c], NTK, EXACT, False,
                    )  # fmt: skip
                    nK = nK + (k1,)
                    nT = nT + (t1,)
                    nE = nE + (e1,)
            K = nK
            if NTK:
                T = nT
            if EXACT:
                E = nE
        if KEEPS:
            target = tl.load(what + 3)
            if target >= 0:
                at = home + target.to(tl.int64) * slot_stride
                for e in tl.static_range(R * C):
                    tl.store(at + e * LN, K[e], mask=on & there)
                    if NTK:
                        tl.store(at + (R * C + e) * LN, T[e], mask=on & there)
                    if EXACT:
                        tl.store(at + ((1 + NTK) * R * C + e) * LN, E[e], mask=on & there)
    if SUMS:
        to = sums_of + (tl.program_id(0) * P + tl.arange(0, P)) * (1 + NTK)
        inside = tl.program_id(0) * P + tl.arange(0, P) < units
        tl.store(to, summed(K, on, P, LW, R * C), mask=inside)
        if NTK:
            tl.store(to + 1, summed(T, on, P, LW, R * C), mask=inside)
