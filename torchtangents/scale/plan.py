"""What a call of `compute` has to do: compare what is asked for with what is stored, find missing tiles, look for space."""

from __future__ import annotations

import errno
import shutil
import warnings
from dataclasses import replace
from typing import Any

import torch

from ..engine.memory import free_bytes
from ..engine.progress import watched
from .chunks import chunk_bytes
from .grid import Place
from .handle import sized
from .inputs import Data
from .job import memory_of
from .manifest import Manifest, differences, versions
from .store import Store
from .watch import announce
from .work import Analytic, Function


def asked_for(
    kernel: Analytic | Function,
    x1: Data,
    x2: Data | None,
    tile: int | None,
    held: Manifest | None,
    attributes: dict[str, Any] | None,
) -> tuple[Manifest, Manifest]:
    """The manifest of what is asked for, and of its first inputs, as many as the store has."""
    dtype, model = kernel.describe(x1, x2)
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
    while side > 1 and memory_of(side, x.row_bytes, len(kernel.kinds), itemsize) > most:
        side //= 2
    return side


def require_same(store: Store, asked: Manifest, first: Manifest, append: bool) -> None:
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


def to_compute(store: Store, progress: bool | None) -> list[Place]:
    """Tiles that are missing, or damaged: those are removed."""
    missing = set(store.missing())
    there = [p for p in store.grid.places() if p not in missing]
    for place in watched(there, progress):
        if reason := store.inspect(place):
            announce(f"{store.root}: tile {place} is computed again ({reason})", progress)
            store.discard(place)
            missing.add(place)
    return sorted(missing)


def require_space(store: Store, places: list[Place], progress: bool | None) -> None:
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
