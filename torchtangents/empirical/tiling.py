"""Tiles of samples: each panel of rows is computed once and kept while the columns pass by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .contract import Rows
from .outputs import Axes, rows
from .passes import Block, Network
from .plan import Tiles
from .products import column
from .samples import Samples
from .terms import Places, kernel, places_of

Watch = Callable[[list], Iterator[Any]]


@dataclass(frozen=True)
class Job:
    """A kernel to compute: networks recorded on x1 and x2 (one where x2 is None), and the tiles."""

    network: Network
    other: Network
    axes: Axes
    x1: Samples
    x2: Samples | None
    tiles: Tiles

    @property
    def columns(self) -> Samples:
        return self.x1 if self.x2 is None else self.x2

    def empty(self) -> Tensor:
        """Zeros (diagonal, N1, free, N2, free), or (diagonal, N, free, free) where samples meet themselves."""
        d, _, a = self.axes.counts
        n1, n2 = self.x1.count, self.columns.count
        dtype = torch.float32 if self.network.dtype in (torch.float16, torch.bfloat16) else self.network.dtype
        shape = (d, n1, a, a) if self.axes.paired else (d, n1, a, n2, a)
        return torch.zeros(shape, dtype=dtype, device=self.x1.device)


def _cuts(start: int, stop: int, step: int) -> list[slice]:
    return [slice(i, min(stop, i + step)) for i in range(start, stop, step)]


def _places(job: Job) -> list[tuple[tuple[slice, slice], slice, slice]]:
    """(chunk of outputs, rows, columns) in order; where x2 is None a panel meets itself, then what is right of it."""
    found = []
    n1, n2 = job.x1.count, job.columns.count
    for chunk in job.tiles.chunks(job.axes):
        for panel in _cuts(0, n1, job.tiles.panel):
            if job.axes.paired:
                right = [panel]
            elif job.x2 is None:
                right = [panel, *_cuts(panel.stop, n2, job.tiles.column)]
            else:
                right = _cuts(0, n2, job.tiles.column)
            found += [(chunk, panel, c) for c in right]
    return found


def structured_blocks(job: Job, watch: Watch) -> Tensor:
    """The kernel from features and cotangents, tile by tile."""
    out = job.empty()
    places1, places2 = places_of(job.network.sites), places_of(job.other.sites)
    kept: dict[str, tuple[Any, Block]] = {}

    def block(side: str, network: Network, samples: Samples, chunk: tuple[slice, slice], among: slice) -> Block:
        key = (chunk, among)
        if side not in kept or kept[side][0] != key:
            kept.pop(side, None)
            like = torch.empty(0, dtype=network.dtype, device=samples.device)
            kept[side] = (key, network.block(samples, among, rows(job.axes, *chunk, like)))
        return kept[side][1]

    for chunk, panel, columns in watch(_places(job)):
        first = block("rows", job.network, job.x1, chunk, panel)
        own = job.x2 is None and columns == panel
        second = first if own else block("columns", job.other, job.columns, chunk, columns)
        count = Rows(chunk[0].stop - chunk[0].start, chunk[1].stop - chunk[1].start, job.axes.counts[2])
        if job.axes.paired:
            out[chunk[0], panel] += _own((places1, first), (places2, second), count, job)
            continue
        part = kernel((places1, first), (places2, second), count, job.network.parameters)
        if own:
            part = _symmetric(part)
        out[chunk[0], panel, :, columns] += part
        if job.x2 is None and not own:
            out[chunk[0], columns, :, panel] += part.permute(0, 3, 4, 1, 2)
    return out


def _own(first: tuple[Places, Block], second: tuple[Places, Block], count: Rows, job: Job) -> Tensor:
    """Each sample with its own partner, (diagonal, n, free, free)."""
    parts = []
    for i in range(first[1].count):
        a = first[1].sample(i)
        b = a if second[1] is first[1] else second[1].sample(i)
        parts.append(kernel((first[0], a), (second[0], b), count, job.network.parameters)[:, 0, :, 0])
    return torch.stack(parts, 1)


def _symmetric(part: Tensor) -> Tensor:
    """A block on the diagonal, symmetric exactly: its upper triangle counts."""
    d, n, a = part.shape[:3]
    matrix = part.reshape(d, n * a, n * a).triu()
    return (matrix + matrix.triu(1).mT).reshape(part.shape)


def vector_blocks(job: Job, watch: Watch) -> Tensor:
    """The kernel from NTK-vector products, a column of it at a time."""
    out = job.empty()
    n1, n2 = job.x1.count, job.columns.count
    chunks = job.tiles.chunks(job.axes)
    places = [(chunk, j) for chunk in chunks for j in range(n2)]
    for chunk, j in watch(places):
        start, stop = (j, j + 1) if job.axes.paired else (0, j + 1 if job.x2 is None else n1)
        for among in _cuts(start, stop, job.tiles.panel):
            part = column(job.network, job.other, job.axes, job.x1, among, job.columns, j, chunk)  # (d, n1, free, free)
            if job.axes.paired:
                out[chunk[0], among] += part
            else:
                out[chunk[0], among, :, j] += part
    if job.x2 is None and not job.axes.paired:
        d, n, a = out.shape[:3]
        matrix = out.reshape(d, n * a, n * a)
        out = (matrix.triu() + matrix.triu(1).mT).reshape(out.shape)
    return out
