"""The three kernels: one step of a segment on a tile of pairs and cells, a whole fully connected chain, and a reduction.

A *cell* is one position on one plane; the cells of a step are numbered plane by plane (`cells.py`). Values of a tile of pairs are
(fields, pairs, cells), fields k, t, e.
"""

import triton
import triton.language as tl

from .moves import PLACE, located
from .operations import CONSTANTS, SLOTS, operate

MAP, INPUT, ADD = map(tl.constexpr, range(3))
# whole numbers that are not compiled in, so that a ragged tile is no other kernel
_STEP = [
    "pairs", "columns", "row0", "column0", "cells", "cells_in", "width1", "width2", "positions1", "positions2", "row1", "row2",
    "channels",
]  # fmt: skip
_REDUCE = [
    "pairs", "cells", "cells_out", "cells_in", "stride", "rows0", "rows1", "low0", "low1", "count0", "count1", "most0", "most1",
]  # fmt: skip


@triton.jit
def block(pairs_of: tl.constexpr, cells_of: tl.constexpr, cells):
    """The pairs and the cells of a program; one axis of programs, since the others hold no more than 65,535."""
    number = tl.program_id(0)
    across = tl.cdiv(cells, cells_of)
    pairs = number // across * pairs_of + tl.arange(0, pairs_of)[:, None]
    return pairs, number % across * cells_of + tl.arange(0, cells_of)[None, :]


@triton.jit
def fetch(values, at, mask, field: tl.constexpr, stride, dtype: tl.constexpr):
    """One field of a value; `values` points to each pair's, so that all pairs share the offset."""
    return tl.load(values + field * stride + at, mask=mask, other=0.0).to(dtype)


@triton.jit(do_not_specialize=_STEP)
def step(
    out, first, second, x1, x2, numbers1, numbers2, cell, plane, source, slots, consts, tables,
    pairs, columns, row0, column0, cells, cells_in, width1, width2, positions1, positions2, row1, row2, channels,
    STEP0: tl.constexpr, STEP1: tl.constexpr, OFF0: tl.constexpr, OFF1: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr,
    GATHER: tl.constexpr, KINDS: tl.constexpr, COUNTS: tl.constexpr, N: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr,
    LOADED: tl.constexpr, WIDE: tl.constexpr, SHARED: tl.constexpr, PB: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    """out <- operations(gathered): MAP, a window over `first` (its planes in `source`); INPUT, products of data; ADD, both.

    cell: (cells, 3) plane and both coordinates; plane: (planes, 2) displacements; pair b is input row0 + b // columns with
    column0 + b % columns. consts starts with the weights of ADD.
    """
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    b, n = block(PB, CB, cells)
    inside = n < cells
    which = tl.load(cell + 3 * n, mask=inside, other=0)
    y = tl.load(cell + 3 * n + 1, mask=inside, other=0)
    x = tl.load(cell + 3 * n + 2, mask=inside, other=0)
    d0 = tl.load(plane + 2 * which)
    d1 = tl.load(plane + 2 * which + 1)
    p = y * width1 + x
    q = (y + d0) * width2 + (x + d1)
    mask = inside & (b < pairs)
    i = row0 + b // columns
    j = column0 + b % columns
    first += b.to(tl.int64) * cells_in
    second += b.to(tl.int64) * cells_in
    stride = pairs.to(tl.int64) * cells_in
    k = tl.zeros((PB, CB), dtype)
    t = tl.zeros((PB, CB), dtype)
    e = tl.zeros((PB, CB), dtype)
    if GATHER == MAP:
        place = source + PLACE * which
        origin = tl.load(place)
        top = tl.load(place + 1)
        start_column = tl.load(place + 2)
        rows = tl.load(place + 3)
        wide = tl.load(place + 4)
        there = inside & (tl.load(place + 5) != 0)
        for a in tl.static_range(N0):
            r = y * STEP0 + OFF0[a] - top
            row = there & (r >= 0) & (r < rows)
            for c in tl.static_range(N1):
                s = x * STEP1 + OFF1[c] - start_column
                valid = row & (s >= 0) & (s < wide) & (b < pairs)
                at = origin + r * wide + s
                k += fetch(first, at, valid, 0, stride, dtype)
                if NTK:
                    t += fetch(first, at, valid, 1, stride, dtype)
                if EXACT and not LOADED:
                    e += fetch(first, at, valid, 1 + NTK, stride, dtype)
    elif GATHER == INPUT:
        left = x1 + i.to(tl.int64) * row1 + p
        right = x2 + j.to(tl.int64) * row2 + q
        for channel in range(channels):
            u = tl.load(left + channel * positions1, mask=mask, other=0.0).to(dtype)
            v = tl.load(right + channel * positions2, mask=mask, other=0.0).to(dtype)
            k += u * v
            if EXACT:
                e += (u - v) * (u - v)
        k = k / channels
        e = e / (2.0 * channels)
    else:
        w1 = tl.load(consts).to(dtype)
        w2 = tl.load(consts + 1).to(dtype)
        k = w1 * fetch(first, n, mask, 0, stride, dtype) + w2 * fetch(second, n, mask, 0, stride, dtype)
        if NTK:
            t = w1 * fetch(first, n, mask, 1, stride, dtype) + w2 * fetch(second, n, mask, 1, stride, dtype)
        if EXACT:
            e = w1 * fetch(first, n, mask, 1 + NTK, stride, dtype) + w2 * fetch(second, n, mask, 1 + NTK, stride, dtype)
    one = numbers1 + i.to(tl.int64) * tl.load(slots)
    two = numbers2 + j.to(tl.int64) * tl.load(slots + 1)
    k, t, e = operate(
        k, t, e, one, two, p, q, d0 == 0, d1 == 0, (i == j) & SHARED, mask, slots + 2, consts + 2, tables,
        KINDS, COUNTS, N, NTK, EXACT, WIDE,
    )  # fmt: skip
    to = out + b.to(tl.int64) * cells + n
    stride_out = pairs.to(tl.int64) * cells
    tl.store(to, k, mask=mask)
    if NTK:
        tl.store(to + stride_out, t, mask=mask)
    if EXACT:
        tl.store(to + (1 + NTK) * stride_out, e, mask=mask)


@triton.jit
def chain(
    product, nngp, ntk, norm1, norm2, x1, x2, numbers1, numbers2, slots, consts, tables, n1, n2, row0, channels, bound, repeats,
    KINDS: tl.constexpr, COUNTS: tl.constexpr, N: tl.constexpr, TAIL: tl.constexpr, TAIL_COUNTS: tl.constexpr, M: tl.constexpr,
    NTK: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr, SHARED: tl.constexpr, RB: tl.constexpr, CB: tl.constexpr,
):  # fmt: skip
    """A fully connected network from the covariances of the data (n1 rows from row0, n2), each read and written once.

    Where some half squared distance is below `bound` of the variances, those of its tile are found again from differences.
    The operations are KINDS, `repeats` times, and TAIL: a loop stays in the cache of instructions and works for any depth.
    Numbers of one slot lie beside each other.
    """
    dtype: tl.constexpr = tl.float64 if WIDE else tl.float32
    r, j = block(RB, CB, n2)
    mask = (r < n1) & (j < n2)
    i = row0 + r
    at = r.to(tl.int64) * n2 + j
    given = tl.load(product + at, mask=mask, other=0.0)
    total = tl.load(norm1 + i, mask=r < n1, other=0.0) + tl.load(norm2 + j, mask=j < n2, other=0.0)
    distance = total * 0.5 - given
    close = mask & (distance < bound * total)
    if SHARED:  # an input is its own without looking
        distance = tl.where(i == j, 0.0, distance)
        given = tl.where(i == j, total * 0.5, given)
        close = close & (i != j)
    i = tl.minimum(i, row0 + n1 - 1)
    j = tl.minimum(j, n2 - 1)
    if tl.max(tl.max(close.to(tl.int32), 1), 0) > 0:
        sums = tl.zeros((RB, CB), tl.float64)
        for c in range(channels):
            u = tl.load(x1 + i.to(tl.int64) * channels + c).to(tl.float64)
            v = tl.load(x2 + j.to(tl.int64) * channels + c).to(tl.float64)
            sums += (u - v) * (u - v)
        distance = tl.where(close, sums / (2.0 * channels), distance)
        given = tl.where(close, total * 0.5 - distance, given)
    k = given.to(dtype)
    e = tl.maximum(distance, 0.0).to(dtype)
    t = tl.zeros((RB, CB), dtype)
    zero = tl.zeros((1, 1), tl.int32)
    everywhere = zero == 0  # rows and columns are held to the data, so that numbers are read once for each
    one = numbers1 + i
    two = numbers2 + j
    same = (i == j) & SHARED
    slots += 2
    consts += 2
    for _ in range(repeats):
        k, t, e = operate(
            k, t, e, one, two, zero, zero, everywhere, everywhere, same, everywhere, slots, consts, tables,
            KINDS, COUNTS, N, NTK, EXACT, WIDE,
        )  # fmt: skip
        slots += N * 2 * SLOTS
        consts += N * CONSTANTS
    k, t, e = operate(
        k, t, e, one, two, zero, zero, everywhere, everywhere, same, everywhere, slots, consts, tables,
        TAIL, TAIL_COUNTS, M, NTK, EXACT, WIDE,
    )  # fmt: skip
    tl.store(nngp + at, k, mask=mask)
    if NTK:
        tl.store(ntk + at, t, mask=mask)


@triton.jit(do_not_specialize=_REDUCE)
def reduce(
    target, value, cell, place, plane, lookup, at0, at1, weight0, weight1, pairs, cells, cells_out, cells_in, stride, rows0,
    rows1, low0, low1, count0, count1, most0, most1, NTK: tl.constexpr, FIELDS: tl.constexpr, PB: tl.constexpr,
    CB: tl.constexpr, H: tl.constexpr, W: tl.constexpr, R: tl.constexpr, C: tl.constexpr, LY: tl.constexpr, LX: tl.constexpr,
):  # fmt: skip
    """target += A1 value A2^T: for some cells of the target, which are at `place`, the entries of both axes that they add up.

    FIELDS: of packed planes (moves.py), (pairs, planes, FIELDS, H W), `stride` between fields; 0 where cells lie plane by plane.

    at0, at1: (target displacements x rows, most, 2) displacement and coordinate in the value, weights beside them (0 for none);
    lookup: (count0, count1, PLACE) planes of the value by displacement from low0, low1; one number each where they are packed.
    """
    b, n = block(PB, CB, cells)
    inside = n < cells
    mask = inside & (b < pairs)
    which = tl.load(cell + 3 * n, mask=inside, other=0)
    y = tl.load(cell + 3 * n + 1, mask=inside, other=0)
    x = tl.load(cell + 3 * n + 2, mask=inside, other=0)
    line0 = (tl.load(plane + 2 * which) * rows0 + y) * most0
    line1 = (tl.load(plane + 2 * which + 1) * rows1 + x) * most1
    start = b.to(tl.int64) * cells_in
    k = tl.zeros((PB, CB), tl.float64)
    t = tl.zeros((PB, CB), tl.float64)
    for a in range(most0):
        w0 = tl.load(weight0 + line0 + a, mask=inside, other=0.0)
        d0 = tl.load(at0 + 2 * (line0 + a), mask=inside, other=0) - low0
        r = tl.load(at0 + 2 * (line0 + a) + 1, mask=inside, other=0)
        for c in range(most1):
            w1 = tl.load(weight1 + line1 + c, mask=inside, other=0.0)
            d1 = tl.load(at1 + 2 * (line1 + c), mask=inside, other=0) - low1
            s = tl.load(at1 + 2 * (line1 + c) + 1, mask=inside, other=0)
            known = (w0 != 0) & (w1 != 0) & (d0 >= 0) & (d0 < count0) & (d1 >= 0) & (d1 < count1)
            if FIELDS:
                number = tl.load(lookup + d0 * count1 + d1, mask=known, other=-1)
                known = known & (number >= 0)
                at = start + number * (FIELDS * H * W) + located(r, s, R, C, LY, LX)
            else:
                found = lookup + PLACE * (d0 * count1 + d1)
                known = known & (tl.load(found + 5, mask=known, other=0) != 0)
                wide = tl.load(found + 4, mask=known, other=0)
                origin = tl.load(found, mask=known, other=0)
                r_in = r - tl.load(found + 1, mask=known, other=0)
                s_in = s - tl.load(found + 2, mask=known, other=0)
                at = start + origin + r_in * wide + s_in
            valid = mask & known
            k += w0 * w1 * fetch(value, at, valid, 0, stride, tl.float64)
            if NTK:
                t += w0 * w1 * fetch(value, at, valid, 1, stride, tl.float64)
    to = target + b.to(tl.int64) * cells_out + tl.load(place + n, mask=inside, other=0)
    stride_out = pairs.to(tl.int64) * cells_out
    tl.store(to, tl.load(to, mask=mask, other=0.0) + k, mask=mask)
    if NTK:
        tl.store(to + stride_out, tl.load(to + stride_out, mask=mask, other=0.0) + t, mask=mask)
