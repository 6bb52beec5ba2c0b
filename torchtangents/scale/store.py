"""A kernel on disk: zarr arrays of tiles, the manifest, the lock, and the records of what was computed.

A store is a folder that any zarr reader opens: the group's attributes hold the manifest, one array a kind has a chunk for each
tile. What is ours alone lies in `.torchtangents` in the first array's folder, where readers do not look.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..engine.progress import watched
from .chunks import chunk_bytes, chunk_path, read_chunk, space_for, write_chunk
from .grid import Grid, Place
from .manifest import Manifest

_READERS, _BATCH = 4, 64  # tiles read at once; tiles that wait to be read


class Damage(NamedTuple):
    """A tile that is not as it was computed, and what is wrong with it.

    Attributes:
        tile: its row and column among the tiles.
        reason: in words.

    Example:
        >>> import torchtangents as tt
        >>> tt.scale.Damage((0, 1), "missing").reason
        'missing'
    """

    tile: Place
    reason: str


class Store:
    """The files of one kernel."""

    def __init__(self, root: Path, manifest: Manifest):
        self.root, self.manifest = root, manifest

    @classmethod
    def open(cls, root: Path) -> Store:
        """An existing one."""
        return cls(root, Manifest.read(root))

    @classmethod
    def create(cls, root: Path, manifest: Manifest) -> Store:
        """An empty one: made beside its place, then renamed, so that it is whole or not there."""
        new = root.with_name(f".{root.name}.{uuid.uuid4().hex}.new")
        try:
            side = _side(new, manifest)
            side.mkdir(parents=True)
            for kind in manifest.kinds:
                _array(new, kind, manifest)
            manifest.write(new, side)
            if root.is_dir() and not any(root.iterdir()):
                root.rmdir()
            os.rename(new, root)
        except BaseException as error:
            shutil.rmtree(new, ignore_errors=True)
            if isinstance(error, OSError) and (root / "zarr.json").exists():  # another process was first
                return cls.open(root)
            raise
        return cls(root, manifest)

    @property
    def side(self) -> Path:
        """Where temporary files, the lock and the records are."""
        return _side(self.root, self.manifest)

    @property
    def grid(self) -> Grid:
        """The tiles."""
        return self.manifest.grid

    @property
    def records_path(self) -> Path:
        """One line of JSON for each tile that was computed."""
        return self.side / "records.jsonl"

    def array(self, kind: str) -> Any:
        """The zarr array of a kind, to read."""
        import zarr

        return zarr.open_array(str(self.root / kind), mode="r")

    def write(self, place: Place, tiles: dict[str, np.ndarray]) -> int:
        """Store the tile of each kind, and its mirror image; bytes written."""
        for kind, values in tiles.items():
            for stored in self.grid.stored(place):
                turned = values if stored == place else values.T
                write_chunk(chunk_path(self.root, kind, stored), turned, self.manifest.tile, self.side)
        return len(self.grid.stored(place)) * len(tiles) * chunk_bytes(self.manifest.tile, self.manifest.numpy_dtype)

    def record(self, record: dict[str, Any]) -> None:
        """Note that a tile was computed."""
        with space_for(self.records_path), open(self.records_path, "a") as file:
            file.write(f"\n{json.dumps(record)}")  # a line that a kill cuts off spoils no other

    def records(self) -> list[dict[str, Any]]:
        """What was computed: tile, seconds, host, process and time of each, in the order in which they came."""
        if not self.records_path.exists():
            return []
        found = []
        for line in self.records_path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # empty, or cut off
                continue
        return found

    def missing(self) -> list[Place]:
        """Tiles without a file of the right size, in order."""
        there = np.logical_and.reduce([self._there(kind) for kind in self.manifest.kinds])  # (tiles, tiles)
        if self.grid.symmetric:
            there = there & there.T | np.tri(len(there), k=-1, dtype=bool)
        return [(int(i), int(j)) for i, j in np.argwhere(~there)]

    def missing_files(self, place: Place) -> bool:
        """Whether a tile is not there, by the size of its files."""
        size = chunk_bytes(self.manifest.tile, self.manifest.numpy_dtype)
        paths = [chunk_path(self.root, kind, at) for kind in self.manifest.kinds for at in self.grid.stored(place)]
        return any(not p.exists() or p.stat().st_size != size for p in paths)

    def _there(self, kind: str) -> np.ndarray:
        """Which chunks have a file of the right size: (tiles, tiles)."""
        found = np.zeros(self.grid.sides, bool)
        folder, size = self.root / kind / "c", chunk_bytes(self.manifest.tile, self.manifest.numpy_dtype)
        for row in os.scandir(folder) if folder.exists() else ():
            for file in os.scandir(row.path) if row.name.isdigit() and int(row.name) < len(found) else ():
                if file.name.isdigit() and int(file.name) < found.shape[1]:
                    found[int(row.name), int(file.name)] = file.is_file() and file.stat().st_size == size
        return found

    def inspect(self, place: Place) -> str:
        """What is wrong with a tile; empty if nothing is."""
        rows, columns = self.grid.slices(place)
        n1, n2 = rows.stop - rows.start, columns.stop - columns.start
        for kind in self.manifest.kinds:
            held = []
            for at in self.grid.stored(place):
                values, reason = read_chunk(chunk_path(self.root, kind, at), self.manifest.tile, self.manifest.numpy_dtype)
                if values is None:
                    return f"{kind}/c/{at[0]}/{at[1]}: {reason}"
                held.append(values[:n1, :n2] if at == place else values[:n2, :n1].T)
            if not np.isfinite(held[0]).all():
                return f"{kind}/c/{place[0]}/{place[1]}: holds entries that were not computed"
            if len(held) > 1 and not np.array_equal(held[0], held[1]):
                return f"{kind}/c/{place[0]}/{place[1]}: is not its mirror image"
        return ""

    def inspected(self, places: list[Place], progress: bool | None) -> Iterator[tuple[Place, str]]:
        """What is wrong with each of some tiles, read several at a time."""
        with ThreadPoolExecutor(_READERS, "torchtangents-read") as pool:
            batches = (places[k : k + _BATCH] for k in range(0, len(places), _BATCH))
            reasons = (reason for batch in batches for reason in pool.map(self.inspect, batch))
            for place in watched(places, progress):
                yield place, next(reasons)

    def discard(self, place: Place) -> None:
        """Remove a tile, so that it counts as missing."""
        for kind in self.manifest.kinds:
            for at in self.grid.stored(place):
                chunk_path(self.root, kind, at).unlink(missing_ok=True)

    def grow(self, manifest: Manifest) -> None:
        """Make room for more inputs. Whenever it stops, what is left is a whole store of the old size or of the new one."""
        for place in self.grid.ragged(manifest.shape):
            self.discard(place)
        manifest.write(self.root, self.side)
        self.manifest = manifest
        self.fit()

    def fit(self) -> None:
        """Give the arrays the manifest's shape, should a growth have stopped before it."""
        import zarr

        for kind in self.manifest.kinds:
            array = zarr.open_array(str(self.root / kind), mode="r+")
            if array.shape != self.manifest.shape:
                array.resize(self.manifest.shape)

    def _tidy(self) -> None:
        """Remove what a process that was killed has left; workers that still compute for it find their job gone, and stop."""
        for left in self.side.glob("*.part"):
            left.unlink(missing_ok=True)
        for left in self.side.glob("job-*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time computes into a store. The system releases the lock of a process that ends, however it ends.

        Raises:
            BlockingIOError: another process computes; who and since when.
        """
        from filelock import FileLock, Timeout

        self.side.mkdir(parents=True, exist_ok=True)
        lock, holder = FileLock(str(self.side / "lock")), self.side / "holder.json"
        try:
            lock.acquire(timeout=0)
        except Timeout:
            try:
                who = json.loads(holder.read_text())
                words = f"process {who['pid']} on {who['host']}, since {who['since']}"
            except (OSError, ValueError, KeyError):
                words = "another process"
            raise BlockingIOError(
                f"store: {words} is computing into {self.root}; wait for it, or look at it with "
                f"tt.scale.open({str(self.root)!r}).progress"
            ) from None
        except NotImplementedError:  # tiles are whole and alike whoever writes them; only appending needs to be alone
            warnings.warn(
                f"{self.root}: its file system has no locks; see to it that one process at a time appends", stacklevel=2
            )
        try:
            self._tidy()
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def _side(root: Path, manifest: Manifest) -> Path:
    return root / manifest.kinds[0] / ".torchtangents"


def _array(root: Path, kind: str, manifest: Manifest) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec

    zarr.create_array(
        str(root / kind), shape=manifest.shape, chunks=(manifest.tile, manifest.tile), dtype=manifest.dtype,
        fill_value=float("nan"), compressors=[Crc32cCodec()], filters=None,
    )  # fmt: skip
