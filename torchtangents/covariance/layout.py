"""Which axes of a tensor are channels and which are positions: flatten, permute and view only move these tags."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .refusal import placed, refuse

CHANNEL = -1
Group = tuple[int, ...]
Layout = tuple[Group, ...]  # for each axis after the batch: the channel tag and/or spatial axes it holds, in order


def images(n: int) -> Layout:
    """(C, S_1, .., S_n): what a convolution takes and returns."""
    return ((CHANNEL,), *((a,) for a in range(n)))


def shape(layout: Layout, length: Callable[[int], int]) -> tuple[int, ...]:
    """The lengths of the axes, given the length of each tag."""
    return tuple(math.prod(length(tag) for tag in group) for group in layout)


def normalize_dim(dim: int, ndim: int) -> int:
    """A dimension of the whole tensor (the batch is 0) as a non-negative number."""
    if not -ndim <= dim < ndim:
        raise IndexError(placed(f"expected a dimension between {-ndim} and {ndim - 1}, got {dim}"))
    return dim % ndim


def flatten(layout: Layout, start: int, end: int) -> Layout:
    """Merge axes start..end (of the layout, inclusive) into one."""
    merged = tuple(tag for group in layout[start : end + 1] for tag in group)
    return (*layout[:start], merged, *layout[end + 1 :])


def regroup(layout: Layout, length: Callable[[int], int], target: Sequence[int]) -> Layout:
    """The layout of a view with the given lengths: every new axis must hold whole tags, in the same order."""
    tags = [tag for group in layout for tag in group]
    out: list[Group] = []
    for wanted in target:
        group: list[int] = []
        size = 1
        while tags and size < wanted:
            size *= length(tags[0])
            group.append(tags.pop(0))
        if size != wanted:
            refuse(
                f"a reshape of {shape(layout, length)} to {tuple(target)} cuts an axis of channels or positions; "
                "expected one that merges whole axes or takes them apart again"
            )
        out.append(tuple(group))
    while tags and length(tags[0]) == 1:
        out[-1] = (*out[-1], tags.pop(0))
    if tags:
        refuse(f"a reshape of {shape(layout, length)} to {tuple(target)} changes the number of elements")
    return tuple(out)


def drop(layout: Layout, axis: int) -> Layout:
    """The layout after a spatial axis is gone: its tag leaves, later ones move down."""
    return tuple(tuple(t - (t > axis) for t in group if t != axis) for group in layout)
