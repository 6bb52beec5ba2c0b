"""Packed planes in memory: strided and large windows, values that other segments stored, and where a position lies."""

import triton
import triton.language as tl

PLACE = tl.constexpr(6)  # of a plane: where its cells start, first row, first column, rows, columns, whether it exists


@triton.jit
def located(y, x, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr):
    """Where a position lies in a packed plane."""
    return ((y % R) * C + x % C) * (LY * LX) + (y // R) * LX + x // C


@triton.jit
def position(rest, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr):
    """The row and column of an entry of a packed plane."""
    element = rest // (LY * LX)
    lane = rest % (LY * LX)
    return lane // LX * R + element // C, lane % LX * C + element % C


@triton.jit
def displaced(plane, which, y, x, mask, H: tl.constexpr, W: tl.constexpr):
    """The displacement of the plane that has a position of a packed plane."""
    dy = tl.load(plane + 2 * which, mask=mask, other=0)
    dx = tl.load(plane + 2 * which + 1, mask=mask, other=0)
    return tl.where(y + dy < H, dy, dy - H), tl.where(x + dx < W, dx, dx - W)


@triton.jit(do_not_specialize=("total", "planes", "planes_in"))
def window(
    out, value, plane, lookup, total, planes, planes_in,
    H: tl.constexpr, W: tl.constexpr, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr, H1: tl.constexpr,
    W1: tl.constexpr, R1: tl.constexpr, C1: tl.constexpr, LY1: tl.constexpr, LX1: tl.constexpr, STEP0: tl.constexpr,
    STEP1: tl.constexpr, OFF0: tl.constexpr, OFF1: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, FIELDS: tl.constexpr,
    B: tl.constexpr,
):  # fmt: skip
    """Sums over windows of the planes of `value` (sizes with 1), every position of `out` (total of them) on its own."""
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    mask = at < total
    unit = at // (H * W)
    rest = (at % (H * W)).to(tl.int32)
    pair = unit // planes
    y, x = position(rest, R, C, LY, LX)
    d0, d1 = displaced(plane, unit % planes, y, x, mask, H, W)
    d0 = d0 * STEP0
    d1 = d1 * STEP1
    near = mask & (d0 > -H1) & (d0 < H1) & (d1 > -W1) & (d1 < W1)
    number = tl.load(lookup + (d0 + H1) % H1 * W1 + (d1 + W1) % W1, mask=near, other=-1)
    source = value + (pair * planes_in + number) * (FIELDS * H1 * W1)
    target = out + unit * (FIELDS * H * W) + rest
    for field in tl.static_range(FIELDS):
        total_of = tl.zeros((B,), out.dtype.element_ty)
        for a in tl.static_range(N0):
            r = y * STEP0 + OFF0[a]
            for c in tl.static_range(N1):
                s = x * STEP1 + OFF1[c]
                valid = near & (number >= 0) & (r >= 0) & (r < H1) & (s >= 0) & (s < W1)
                valid = valid & (r + d0 >= 0) & (r + d0 < H1) & (s + d1 >= 0) & (s + d1 < W1)
                total_of += tl.load(source + field * (H1 * W1) + located(r, s, R1, C1, LY1, LX1), mask=valid, other=0.0)
        tl.store(target + field * (H * W), total_of, mask=mask)


@triton.jit(do_not_specialize=("total", "planes", "cells_in", "stride"))
def stored(
    out, held, plane, lookup, total, planes, cells_in, stride,
    H: tl.constexpr, W: tl.constexpr, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr,
    FIELDS: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Packed planes of a value stored plane by plane in double precision; lookup: (2H - 1, 2W - 1, PLACE)."""
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    mask = at < total
    unit = at // (H * W)
    rest = (at % (H * W)).to(tl.int32)
    y, x = position(rest, R, C, LY, LX)
    d0, d1 = displaced(plane, unit % planes, y, x, mask, H, W)
    place = lookup + PLACE * ((d0 + H - 1) * (2 * W - 1) + d1 + W - 1)
    valid = mask & (tl.load(place + 5, mask=mask, other=0) != 0)
    row = y - tl.load(place + 1, mask=valid, other=0)
    column = x - tl.load(place + 2, mask=valid, other=0)
    cell = tl.load(place, mask=valid, other=0) + row * tl.load(place + 4, mask=valid, other=0) + column
    source = held + unit // planes * cells_in + cell
    target = out + unit * (FIELDS * H * W) + rest
    for field in tl.static_range(FIELDS):
        found = tl.load(source + field * stride, mask=valid, other=0.0).to(out.dtype.element_ty)
        tl.store(target + field * (H * W), found, mask=mask)


@triton.jit(do_not_specialize=("total", "cells", "planes_of", "cells_in", "stride"))
def joined(
    packed, held, cell, place, total, cells, planes_of, cells_in, stride, HW: tl.constexpr, FIELDS: tl.constexpr,
    B: tl.constexpr,
):  # fmt: skip
    """Adds `cells` of what is stored in double precision to where they are in packed planes; total: of all pairs."""
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    mask = at < total
    which = tl.load(cell + at % cells, mask=mask, other=0)
    to = packed + at // cells * planes_of * (FIELDS * HW) + tl.load(place + at % cells, mask=mask, other=0)
    for field in tl.static_range(FIELDS):
        more = tl.load(held + field * stride + at // cells * cells_in + which, mask=mask, other=0.0)
        tl.store(to + field * HW, tl.load(to + field * HW, mask=mask, other=0.0) + more.to(packed.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=("pairs", "entries", "stride"))
def pooled(
    out, value, offsets, weights, pairs, entries, stride,
    HW: tl.constexpr, MOST: tl.constexpr, HW1: tl.constexpr, NTK: tl.constexpr, ADD: tl.constexpr, UNIFORM: tl.constexpr,
    PB: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """out <- what every entry adds up of packed planes (+ out where ADD): packed planes of HW positions, or cells where HW is 0.

    offsets, weights: (MOST, entries of a pair of out) where that is in a pair of `value`, -1 for nothing; stride: numbers of a
    pair; UNIFORM: all weights are one number, which is all that `weights` holds.
    """
    dtype: tl.constexpr = value.dtype.element_ty
    across = tl.cdiv(entries, B)
    n = tl.program_id(0) % across * B + tl.arange(0, B)
    pair = tl.program_id(0) // across * PB
    inside = n < entries
    source = value + pair.to(tl.int64) * stride
    k = ()
    t = ()
    for _ in tl.static_range(PB):
        k = k + (tl.zeros((B,), dtype),)
        t = t + (tl.zeros((B,), dtype),)
    for m in tl.static_range(MOST):
        at = tl.load(offsets + m * entries + n, mask=inside, other=-1)
        if UNIFORM:
            w = 1.0
        else:
            w = tl.load(weights + m * entries + n, mask=inside, other=0.0).to(dtype)
        nk = ()
        nt = ()
        for b in tl.static_range(PB):  # a pair after the other, which share the offsets
            there = (at >= 0) & (n * 0 + pair + b < pairs)
            nk = nk + (k[b] + w * tl.load(source + tl.full((), b, tl.int64) * stride + at, mask=there, other=0.0),)
            if NTK:
                nt = nt + (t[b] + w * tl.load(source + tl.full((), b, tl.int64) * stride + (at + HW1), mask=there, other=0.0),)
            else:
                nt = nt + (t[b],)
        k = nk
        t = nt
    w = tl.load(weights).to(dtype) if UNIFORM else 1.0
    if HW:
        place = n // HW * ((1 + NTK) * HW) + n % HW
        own = entries.to(tl.int64) * (1 + NTK)
        field = tl.full((), HW, tl.int64)
    else:
        place = n
        own = entries.to(tl.int64)
        field = pairs.to(tl.int64) * entries
    for b in tl.static_range(PB):
        mask = inside & (n * 0 + pair + b < pairs)
        target = out + (pair + b).to(tl.int64) * own + place
        before = 0.0
        if ADD:
            before = tl.load(target, mask=mask, other=0.0)
        tl.store(target, w * k[b] + before, mask=mask)
        if NTK:
            if ADD:
                before = tl.load(target + field, mask=mask, other=0.0)
            tl.store(target + field, w * t[b] + before, mask=mask)
