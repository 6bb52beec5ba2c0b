"""Windows of pooling layers as sparse rows, with torch's conventions for padding and rounding."""

from __future__ import annotations

from dataclasses import replace

from .masks import windowed
from .refusal import placed, refuse
from .rows import Rows
from .state import State

Number = int | tuple[int, ...]


def each(value: Number, n: int) -> tuple[int, ...]:
    """One number for each of n axes."""
    return (value,) * n if isinstance(value, int) else tuple(value)


def pool(
    k: State,
    n: int,
    window: Number,
    stride: Number | None,
    padding: Number = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    average: bool = True,
) -> State:
    """The mean or sum over windows of the last n axes."""
    _require_axes(k, n)
    steps = zip(each(window, n), each(stride if stride else window, n), each(padding, n), strict=True)
    mask, k = k.mask, k.masked()
    if mask is not None and (ceil_mode or (any(each(padding, n)) and not count_include_pad)):
        refuse("a pool with windows of different sizes has no rule for masks; expected ceil_mode=False, count_include_pad=True")
    for i, (w, s, p) in enumerate(steps):
        axis = k.spatial(len(k.layout) - n + i)
        k = k.linear(axis, _rows(k.size[axis], w, s, p, ceil_mode, count_include_pad, average))
        mask = None if mask is None else windowed(mask, axis, k.size[axis], w - 1, s, p, p)
    return replace(k, mask=mask)


def adaptive(k: State, n: int, sizes: tuple[int | None, ...]) -> State:
    """The mean over windows that give the wanted number of positions: [floor(i S / O), ceil((i + 1) S / O))."""
    _require_axes(k, n)
    for i, out in enumerate(sizes):
        axis = k.spatial(len(k.layout) - n + i)
        size = k.size[axis]
        if out is None:
            continue
        spans = [(j * size // out, -(-(j + 1) * size // out)) for j in range(out)]
        k = k.linear(axis, Rows(([(q, 1 / (hi - lo)) for q in range(lo, hi)] for lo, hi in spans), size))
    return k


def _require_axes(k: State, n: int) -> None:
    """Refuse what torch's pool refuses: an input that has not channels and n axes of positions."""
    if len(k.layout) != n + 1:
        raise ValueError(
            placed(
                f"expected an input (N, C, and {n} axes of positions) for a pool over {n}, got {len(k.layout) + 1} axes in all"
            )
        )


def _rows(n: int, w: int, s: int, p: int, ceil_mode: bool, include_pad: bool, average: bool) -> Rows:
    span = n + 2 * p - w
    count = (span + (s - 1) * ceil_mode) // s + 1
    if ceil_mode and (count - 1) * s >= n + p:
        count -= 1
    if count < 1:
        raise ValueError(placed(f"expected at least {w - 2 * p} positions for a pool of {w}, got {n}"))
    rows = []
    for start in range(-p, -p + count * s, s):
        inside = range(max(start, 0), min(start + w, n))
        divisor = min(start + w, n + p) - start if include_pad else len(inside)
        rows.append([(q, 1 / divisor if average else 1.0) for q in inside])
    return Rows(rows, n)
