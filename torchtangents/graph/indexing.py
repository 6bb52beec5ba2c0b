"""Slices, indices, flips and rolls of recorded values: positions are chosen, channels keep their law."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from ..covariance.layout import normalize_dim
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .symbol import Symbol


def _getitem(recorder: Any, input: Symbol, index: Any) -> Symbol:
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(i is not None and i is not Ellipsis for i in items)
    if used > input.ndim:
        raise IndexError(placed(f"expected at most {input.ndim} indices, got {used}"))
    places = [at for at, i in enumerate(items) if i is Ellipsis]
    if len(places) > 1:
        raise IndexError(placed("expected at most one '...' in an index"))
    at = places[0] if places else len(items)
    items[at : at + 1] = [slice(None)] * (input.ndim - used)
    if sum(not _basic(i) for i in items) > 1 or (any(_is_number(i) for i in items) and not all(_basic(i) for i in items)):
        refuse("indexes several axes by lists or numbers at once; expected one list of positions, or slices and numbers")
    if not items or items[0] is None or not _is_whole(items[0], input.shape[0]):
        refuse("indexes the batch axis, which chooses or mixes inputs; expected x[:, ..]")
    state, dim = input.current(), 0  # counted without the batch
    for item in items[1:]:
        if item is None:
            state = state.unsqueeze(dim)
        elif _is_number(item):
            state = _one(state, dim, operator.index(item))
            dim -= 1
        elif not isinstance(item, slice) or item != slice(None):  # one that is whole here may not be for the sizes of x2
            state = state.take(dim, _entries(item, state.shape[dim]))
        dim += 1
    return recorder.symbol(state, input, view=all(_basic(i) for i in items))


def _is_number(item: Any) -> bool:
    if isinstance(item, (bool, slice)) or item is None:
        return False
    return hasattr(item, "__index__") and not getattr(item, "ndim", 0)


def _basic(item: Any) -> bool:
    return item is None or isinstance(item, slice) or _is_number(item)


def _is_whole(item: Any, length: int) -> bool:
    return isinstance(item, slice) and item.indices(length) == (0, length, 1)


def _wrapped(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(placed(f"expected an index from {-length} to {length - 1}, got {index}"))
    return index % length


def _one(state: State, dim: int, index: int) -> State:
    if -1 in state.layout[dim]:
        refuse(f"picks one entry of the channels of {(-1, *state.shape)}, where no law is left; expected a slice x[:, i:j]")
    return state.select(dim, _wrapped(index, state.shape[dim]))


def _entries(item: Any, length: int) -> list[int]:
    """The entries of one axis that a slice, a list or a 1-D tensor names."""
    if isinstance(item, slice):
        if item.step is not None and item.step < 1:
            raise ValueError(placed("expected a positive step; use torch.flip"))
        return list(range(*item.indices(length)))
    if isinstance(item, Symbol):
        refuse("indexes by a recorded value; expected constant positions")
    index = torch.as_tensor(item)
    if index.ndim != 1:
        refuse(f"indexes by {type(item).__name__} of {index.ndim} axes; expected numbers, slices or one list of positions")
    if index.dtype == torch.bool:
        if len(index) != length:
            raise IndexError(placed(f"expected a mask over {length} entries, got {len(index)}"))
        index = index.nonzero()[:, 0]
    elif index.is_floating_point() and len(index):
        raise IndexError(placed(f"expected whole numbers as an index, got {index.dtype}"))
    return [_wrapped(int(i), length) for i in index]


def _inner(dim: int, input: Symbol, what: str) -> int:
    """An axis counted without the batch, which is refused."""
    out = normalize_dim(dim, input.ndim) - 1
    if out < 0:
        refuse(f"{what} acts on the batch axis, which chooses or mixes inputs; expected an axis of positions")
    return out


def _taken(recorder: Any, input: Symbol, dim: int, what: str, entries: Sequence[int], view: bool = True) -> Symbol:
    return recorder.symbol(input.current().take(_inner(dim, input, what), entries), input, view=view)


def _narrow(recorder: Any, input: Symbol, dim: int, start: int, length: int) -> Symbol:
    size = input.shape[normalize_dim(dim, input.ndim)]
    first = int(start) + size * (start < 0)
    if not 0 <= first <= first + length <= size:
        raise IndexError(placed(f"expected entries between 0 and {size}, got {first} to {first + length}"))
    return _taken(recorder, input, dim, "narrow", range(first, first + length))


def _select(recorder: Any, input: Symbol, dim: int, index: int) -> Symbol:
    at = _inner(dim, input, "select")
    return recorder.symbol(_one(input.current(), at, int(index)), input, view=True)


def _index_select(recorder: Any, input: Symbol, dim: int, index: Any) -> Symbol:
    entries = _entries(index, input.shape[normalize_dim(dim, input.ndim)])
    return _taken(recorder, input, dim, "index_select", entries, view=False)


def _flip(recorder: Any, input: Symbol, *dims: Any) -> Symbol:
    state = input.current()
    for dim in dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims:
        at = _inner(dim, input, "flip")
        state = state.take(at, range(state.shape[at])[::-1])
    return recorder.symbol(state, input)


def _roll(recorder: Any, input: Symbol, shifts: Any, dims: Any = None) -> Symbol:
    if dims is None or dims == ():
        refuse("roll without dims runs over the batch; expected dims= with axes of positions")
    pairs = zip(*((v if isinstance(v, (tuple, list)) else (v,)) for v in (shifts, dims)), strict=True)
    state = input.current()
    for shift, dim in pairs:
        at = _inner(dim, input, "roll")
        length = state.shape[at]
        state = state.take(at, [(i - shift) % length for i in range(length)])
    return recorder.symbol(state, input)


def _split(recorder: Any, input: Symbol, split_size_or_sections: Any, dim: int = 0) -> tuple[Symbol, ...]:
    at = _inner(dim, input, "split")
    length, sizes = input.shape[at + 1], split_size_or_sections
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(placed(f"expected a positive size of the parts, got {sizes}"))
        sizes = [min(sizes, length - i) for i in range(0, length, sizes)]
    if sum(sizes) != length:
        raise ValueError(placed(f"expected sizes that sum to {length}, got {list(sizes)}"))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(_taken(recorder, input, dim, "split", range(i, i + s)) for i, s in zip(starts, sizes, strict=True))


def _chunk(recorder: Any, input: Symbol, chunks: int, dim: int = 0) -> tuple[Symbol, ...]:
    return _split(recorder, input, -(-input.shape[normalize_dim(dim, input.ndim)] // chunks), dim)


def _unbind(recorder: Any, input: Symbol, dim: int = 0) -> tuple[Symbol, ...]:
    at = _inner(dim, input, "unbind")
    return tuple(recorder.symbol(_one(input.current(), at, i), input, view=True) for i in range(input.shape[at + 1]))


_T = torch.Tensor
INDEXING = {
    _T.__getitem__: _getitem,
    **dict.fromkeys((torch.narrow, _T.narrow), _narrow),
    **dict.fromkeys((torch.select, _T.select), _select),
    **dict.fromkeys((torch.index_select, _T.index_select), _index_select),
    **dict.fromkeys((torch.flip, _T.flip), _flip),
    **dict.fromkeys((torch.roll, _T.roll), _roll),
    **dict.fromkeys((torch.split, _T.split), _split),
    **dict.fromkeys((torch.chunk, _T.chunk), _chunk),
    **dict.fromkeys((torch.unbind, _T.unbind), _unbind),
}
