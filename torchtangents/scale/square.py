"""A symmetric kernel (N, N) that lies in memory, in a file or on a cluster, read tile by tile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..predict.check import require_choice

_LEAST = 1024  # rows of a tile where chunks are smaller: fewer, larger reads and products
_AHEAD = 2  # tiles that are read while one is used
KINDS = ("nngp", "ntk")


def kernel_array(name: str, k: Any, kind: str) -> Any:
    """The array of `kind` in a stored kernel, or `k` itself: anything with shape, dtype and slices, of floating point numbers.

    Raises:
        TypeError, ValueError: no such array, a stored kernel that is not complete or lacks `kind`.
    """
    require_choice("kind", kind, KINDS)
    if hasattr(k, "kinds"):
        where = f"the stored kernel {getattr(k, 'path', '')}".rstrip()
        if kind not in k.kinds:
            raise ValueError(f"{name}: expected kind={kind!r} in {where}, got {tuple(k.kinds)}; pass kind=, or compute it.")
        if not k.complete:
            done = f"{k.progress:.0%}"
            raise ValueError(
                f"{name}: expected a complete kernel, got {where} with {done} of its tiles; call tt.scale.compute again."
            )
        k = getattr(k, kind)
    if any(not hasattr(k, attribute) for attribute in ("shape", "dtype", "__getitem__")):
        raise TypeError(
            f"{name}: expected a stored kernel, or an array that slices (numpy, zarr, dask, torch), got {type(k).__name__}."
        )
    if isinstance(k, Tensor) and k.device.type != "cpu":
        raise ValueError(f"{name}: expected a tensor in the computer's memory, got one on {k.device}; pass k.cpu().")
    torch_dtype(name, k)
    return k


def torch_dtype(name: str, array: Any) -> torch.dtype:
    """The floating point type of `array`, in torch's terms."""
    if isinstance(array.dtype, torch.dtype):
        found = array.dtype if array.dtype.is_floating_point else None
    else:
        dtype = np.dtype(array.dtype)
        found = getattr(torch, dtype.name) if dtype.kind == "f" and dtype.itemsize <= 8 else None
    if found is None:
        raise TypeError(f"{name}: expected floating point numbers of at most 64 bits, got {array.dtype}; convert them first.")
    return found


def chunk_sizes(array: Any) -> tuple[int, int] | None:
    """Rows and columns that a zarr, HDF5 or dask array keeps together, the largest where they differ; None in memory."""
    chunks = getattr(array, "chunks", None)
    if chunks is None:
        return None
    rows, cols = (max(size) if isinstance(size, tuple) else int(size) for size in chunks)
    return rows, cols


def read(array: Any, rows: slice, cols: slice, compute: Callable[[Any], Any] | None = None) -> Tensor:
    """A part of `array` in its own dtype, in this process; `compute` fetches what a dask array gives.

    Raises:
        ValueError: the file's checksum says that it is damaged.
    """
    try:
        part = array[rows, cols]
    except ValueError as error:
        if "checksum" not in str(error).lower():
            raise
        where = f"rows {rows.start} to {rows.stop} and columns {cols.start} to {cols.stop}"
        raise ValueError(
            f"the stored kernel is damaged in {where} ({error}); `verify` of a stored kernel finds the tile, compute mends it."
        ) from error
    if isinstance(part, Tensor):
        return part.detach()
    if hasattr(part, "dask"):
        part = part.compute() if compute is None else compute(part)
    part = np.asarray(part)
    return torch.from_numpy(np.array(part, dtype=part.dtype.newbyteorder("=")))


def merged(upper: Tensor, lower: Tensor) -> Tensor:
    """(K_ij + K_ji^T) / 2 in float64, or K_ij itself where they are equal."""
    return upper if torch.equal(upper, lower.mT) else (upper.double() + lower.mT.double()) / 2


class Square:
    """The upper triangle of a kernel in square tiles (i, j), i <= j; `cuts` are the rows of block i.

    What stands for K_ij is (K_ij + K_ji^T) / 2, as in `predict`; the lower triangle is read too until a first pass over it
    has found that both are equal (`upper_only`), which a stored kernel says of itself.

    Raises:
        TypeError, ValueError: as `kernel_array`; a shape that is not (N, N), a stored kernel of different x1 and x2.
    """

    def __init__(self, name: str, k: Any, kind: str, tile: int | None = None, client: Any = None):
        self.array = kernel_array(name, k, kind)
        self.name, self.dtype = name, torch_dtype(name, self.array)
        shape = tuple(self.array.shape)
        stored = hasattr(k, "kinds")
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0 or (stored and not k.symmetric):
            raise ValueError(
                f"{name}: expected a square matrix (N, N), N >= 1, got {shape}{' of different x1 and x2' if stored else ''}; "
                "pass the kernel of x_train with itself."
            )
        self.upper_only = stored
        self.cuts = _cuts(self.array, tile)
        self._compute = None if client is None else lambda part: client.compute(part, sync=True)
        self._held: dict[tuple[int, int], Tensor] = {}
        self._room = 0

    def __len__(self) -> int:
        return self.array.shape[0]

    @property
    def places(self) -> list[tuple[int, int]]:
        """The tiles of the upper triangle."""
        return [(i, j) for i in range(len(self.cuts)) for j in range(i, len(self.cuts))]

    @property
    def largest(self) -> int:
        """Rows of the largest tile."""
        return max(rows.stop - rows.start for rows in self.cuts)

    def hold(self, room: int) -> None:
        """Keep tiles in memory once read, up to `room` bytes, if they do not lie there anyway."""
        self._room = 0 if isinstance(self.array, (np.ndarray, Tensor)) else room

    def raw(self, i: int, j: int) -> tuple[Tensor, Tensor | None]:
        """K_ij and K_ji as they are; None for K_ji where it need not be read."""
        upper = read(self.array, self.cuts[i], self.cuts[j], self._compute)
        if self.upper_only:
            return upper, None
        return upper, upper if i == j else read(self.array, self.cuts[j], self.cuts[i], self._compute)

    def keep(self, i: int, j: int, tile: Tensor) -> Tensor:
        """Hold a tile of the symmetric matrix, in the array's dtype or float64 where triangles differ, if there is room."""
        size = tile.numel() * tile.element_size()
        if size <= self._room and (i, j) not in self._held:
            self._held[i, j] = tile
            self._room -= size
        return tile

    def tiles(self) -> Iterator[tuple[int, int, Tensor]]:
        """Every tile of the upper triangle, in order, one at a time."""
        for (i, j), parts in self.ahead(lambda place: None if place in self._held else self.raw(*place)):
            if parts is None:
                yield i, j, self._held[i, j]
            else:
                yield i, j, self.keep(i, j, parts[0] if parts[1] is None else merged(*parts))

    def ahead(self, reading: Callable[[tuple[int, int]], Any]) -> Iterator[tuple[tuple[int, int], Any]]:
        """What `reading` gives for each place, in order; from files and clusters a few are read while one is used."""
        if chunk_sizes(self.array) is None:
            yield from ((place, reading(place)) for place in self.places)
            return
        waiting: deque = deque()
        with ThreadPoolExecutor(_AHEAD) as pool:
            for place in self.places:
                waiting.append((place, pool.submit(reading, place)))
                if len(waiting) > _AHEAD:
                    done, part = waiting.popleft()
                    yield done, part.result()
            for done, part in waiting:
                yield done, part.result()

    def row(self, n: int) -> Tensor:
        """Row n (N,) in float64; reads no other row that is not in a chunk with it."""
        if not self._held:
            return self._part(n, slice(0, len(self)))
        b = next(i for i, rows in enumerate(self.cuts) if rows.stop > n)
        local, parts = n - self.cuts[b].start, []
        for j in range(len(self.cuts)):
            held = self._held.get((min(b, j), max(b, j)))
            parts.append(self._part(n, self.cuts[j]) if held is None else (held[local] if b <= j else held[:, local]).double())
        return torch.cat(parts)

    def _part(self, n: int, cols: slice) -> Tensor:
        here = slice(n, n + 1)
        part = read(self.array, here, cols, self._compute)
        return (part if self.upper_only else merged(part, read(self.array, cols, here, self._compute)))[0].double()


def _cuts(array: Any, tile: int | None) -> list[slice]:
    n, chunks = array.shape[0], chunk_sizes(array)
    sizes = getattr(array, "chunks", None)
    if tile is None and sizes is not None and isinstance(sizes[0], tuple):  # dask: its own blocks, which lie where they lie
        ends = np.cumsum(sizes[0] if sizes[0] == sizes[1] else _regular(n, max(chunks or (n,)))).tolist()
    else:
        unit = max(chunks) if chunks else _LEAST
        ends = np.cumsum(_regular(n, tile or unit * max(1, _LEAST // unit))).tolist()
    return [slice(start, stop) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]


def _regular(n: int, size: int) -> list[int]:
    return [min(size, n - start) for start in range(0, n, size)]
