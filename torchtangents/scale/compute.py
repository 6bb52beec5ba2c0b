"""`tt.scale.compute` and `tt.scale.open`."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..engine.backend import NAMES
from ..engine.memory import free_bytes
from ..engine.progress import watched
from .chunks import chunk_bytes
from .grid import Place
from .handle import Handle, sized
from .inputs import Data
from .job import Job
from .local import run_here
from .manifest import Manifest, differences, versions
from .store import Store
from .watch import Watch, announce
from .work import KINDS, Analytic, Function, kernel_of

_COPIES = 6  # of a tile of one kind in memory at once: computed, turned, padded, waiting to be written


def open(store: str | os.PathLike[str]) -> Handle:
    """A stored kernel, complete or not.

    Args:
        store: the folder.

    Raises:
        FileNotFoundError, ValueError: there is none.

    Example:
        >>> import tempfile, torch, torchtangents as tt
        >>> path = tempfile.mkdtemp() + "/k.zarr"
        >>> _ = tt.scale.compute(tt.nn.Linear(3, 1), torch.randn(5, 3), store=path, progress=False)
        >>> tt.scale.open(path).shape
        (5, 5)
    """
    return Handle(Store.open(_path(store)))


def compute(
    model_or_kernel_fn: Any, x1: Any, x2: Any = None, store: str | os.PathLike[str] = "k.zarr",
    kinds: Sequence[str] = KINDS, client: Any = None, devices: Any = None, tile: int | None = None,
    progress: bool | None = None, backend: str = "auto", attributes: dict[str, Any] | None = None,
    *, append: bool = False,
) -> Handle:  # fmt: skip
    """Compute a kernel of any size into a store on disk, or continue one.

    Args:
        model_or_kernel_fn: a module, whose kernels in closed form are computed, or a function f(x1, x2) that returns a tensor,
            or a named tuple or dict with nngp and ntk, e.g. `functools.partial(tt.empirical.kernels, model)`. On the diagonal of
            a symmetric kernel f(x) is called where its second argument has the default None, f(x, x) otherwise.
        x1: inputs (N1, ..): a tensor, a numpy array or memmap, a zarr array, or a tuple of them for forward's arguments. They
            are read by slices.
        x2: inputs (N2, ..) of the same kind; None means x1, and skips what lies below the diagonal.
        store: a folder; where it holds this kernel already, what is missing or damaged is computed.
        kinds: which kernels.
        tile: inputs on a side of a tile; None chooses one that takes some seconds, or that of the store.
        progress: as in `tt.ntk`.
        backend: as in `tt.ntk`.
        attributes: a dictionary that JSON can hold, kept in the store.
        append: x1 (or x2) may be longer than what is stored: where the first inputs are the same, only the new rows and columns
            are computed, and the tiles that the old edge cut off.

    Returns:
        A `Handle`.

    Raises:
        ValueError: the store holds a kernel of another model, other inputs or another dtype: the message names the difference.
        OSError: the disk is full; call again when there is space.
        BlockingIOError: another process is computing into the store.

    Example:
        >>> import tempfile, torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 64), torch.nn.ReLU(), tt.nn.Linear(64, 1))
        >>> k = tt.scale.compute(net, torch.randn(100, 3), store=tempfile.mkdtemp() + "/k.zarr", progress=False)
        >>> k.ntk.shape, k.complete, k.torch(slice(0, 2), slice(0, 3)).shape
        ((100, 100), True, torch.Size([2, 3]))
    """
    root = _path(store)
    kernel = kernel_of(model_or_kernel_fn, _kinds(kinds), _backend(backend))
    data1, data2 = Data(x1, "x1"), None if x2 is None else Data(x2, "x2")
    there = root.exists() and any(root.iterdir())
    asked, first = _asked(kernel, data1, data2, tile, Manifest.read(root) if there else None, attributes)
    held = Store.open(root) if there else Store.create(root, asked)
    job = Job(kernel, data1, data2, held)
    with held.locked():
        held.manifest = Manifest.read(root)  # as it is now that no one else changes it
        _require_same(held, asked, first, append)
        places = _to_compute(held, progress)
        if places:
            _require_space(held, places, progress)
            with Watch(held, len(places), progress) as watch:
                run_here(job, places, watch.done)
    return Handle(held, job)


def _asked(
    kernel: Analytic | Function,
    x1: Data,
    x2: Data | None,
    tile: int | None,
    held: Manifest | None,
    attributes: dict[str, Any] | None,
) -> tuple[Manifest, Manifest]:
    """The manifest of what is asked for, and of its first inputs, as many as the store has."""
    if x2 is not None and x1.kinds() != x2.kinds():
        raise ValueError(f"x2: expected inputs like those of x1, {x1.kinds()}, got {x2.kinds()}.")
    dtype, model = kernel.describe(x1)
    count1, count2 = x1.count, (x1 if x2 is None else x2).count
    if tile is None:
        tile = held.tile if held else min(_side(kernel, x1, dtype.itemsize), max(count1, count2))
    elif isinstance(tile, bool) or not isinstance(tile, int) or tile < 1:
        raise ValueError(f"tile: expected a positive number of inputs, got {tile!r}.")
    whole, first = [], []
    for data, was in ((x1, held.x1 if held else None), (x2, held.x2 if held else None)):
        if data is None:
            whole.append(None)
            first.append(None)
            continue
        prefix = was["count"] if was and was["count"] < data.count else None
        digest, early = data.digest(prefix)
        whole.append({"count": data.count, "arguments": data.kinds(), "digest": digest})
        first.append(whole[-1] if prefix is None else {**whole[-1], "count": prefix, "digest": early})
    if attributes is None:
        attributes = held.attributes if held else {}
    asked = Manifest(
        (count1, count2), tile, x2 is None, kernel.kinds, dtype.name, getattr(kernel, "backend", "auto"), model,
        whole[0], whole[1], versions(), attributes,
    )  # fmt: skip
    shape = first[0]["count"], (first[1] or first[0])["count"]
    return asked, replace(asked, shape=shape, x1=first[0], x2=first[1])


def _side(kernel: Analytic | Function, x: Data, itemsize: int) -> int:
    """Inputs on a side of a tile: some seconds of work, while inputs and results fit in an eighth of the free memory."""
    side, most = kernel.side(x), free_bytes(torch.device("cpu")) // 8
    while side > 1 and side * (2 * x.row_bytes + len(kernel.kinds) * _COPIES * itemsize * side) > most:
        side //= 2
    return side


def _require_same(store: Store, asked: Manifest, first: Manifest, append: bool) -> None:
    """Refuse to continue another kernel; make room for new inputs."""
    held = store.manifest
    found = differences(held, first)
    if found:
        raise ValueError(
            f"store: {store.root} holds another kernel than the one asked for:\n  "
            + "\n  ".join(found)
            + "\nExpected the same; choose "
            "another store, or delete this one."
        )
    if held.shape != asked.shape and not append:
        raise ValueError(
            f"store: {store.root} holds {held.shape[0]:,} x {held.shape[1]:,} of this kernel, asked for {asked.shape[0]:,} x "
            f"{asked.shape[1]:,}; the inputs begin alike: pass append=True to compute the new rows and columns."
        )
    changed = [f"{k} {held.versions[k]} then, {v} now" for k, v in asked.versions.items() if held.versions.get(k, v) != v]
    if changed:
        warnings.warn(
            f"{store.root} was begun with other versions, whose roundings may differ: {'; '.join(changed)}", stacklevel=4
        )
    if held.shape != asked.shape:
        store.grow(asked)
    elif held.attributes != asked.attributes:
        store.manifest = replace(held, attributes=asked.attributes)
        store.manifest.write(store.root, store.side)
    store.fit()


def _to_compute(store: Store, progress: bool | None) -> list[Place]:
    """Tiles that are missing, or damaged: those are removed."""
    missing = set(store.missing())
    there = [p for p in store.grid.places() if p not in missing]
    for place in watched(there, progress):
        if reason := store.inspect(place):
            announce(f"{store.root}: tile {place} is computed again ({reason})", progress)
            store.discard(place)
            missing.add(place)
    return sorted(missing)


def _require_space(store: Store, places: list[Place], progress: bool | None) -> None:
    """Say how much will be written; refuse what does not fit."""
    m = store.manifest
    files = sum(len(store.grid.stored(p)) for p in places) * len(m.kinds)
    size, free = files * chunk_bytes(m.tile, m.numpy_dtype), shutil.disk_usage(store.root).free
    announce(
        f"{store.root}: {' and '.join(m.kinds)} of {m.model['name']}, {m.shape[0]:,} x {m.shape[1]:,} {m.dtype}; "
        f"{len(places):,} of {store.grid.count:,} tiles of {m.tile} x {m.tile} to compute, {sized(size)} "
        f"to write, {sized(free)} free",
        progress,
    )
    if size > free:
        raise OSError(
            errno.ENOSPC, f"{store.root}: {len(places):,} tiles need {sized(size)}, but the disk has {sized(free)} free. Make "
            "space and call compute again, or choose a store on another disk"
        )  # fmt: skip


def _path(store: Any) -> Path:
    if not isinstance(store, (str, os.PathLike)) or "://" in str(store):
        raise TypeError(f"store: expected the path of a folder that every process can see, got {store!r}.")
    return Path(store).absolute()


def _kinds(kinds: Any) -> tuple[str, ...]:
    found = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not found or len(set(found)) != len(found) or not set(found) <= set(KINDS):
        raise ValueError(f"kinds: expected one or both of 'nngp' and 'ntk', got {kinds!r}.")
    return tuple(k for k in KINDS if k in found)


def _backend(backend: Any) -> str:
    if backend not in NAMES:
        raise ValueError(f"backend: expected one of {', '.join(map(repr, NAMES))}, got {backend!r}.")
    return backend
