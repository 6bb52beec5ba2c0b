"""What computes the tiles of one store: in this process, or sent once to others through a file in the store."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .chunks import replace_file
from .grid import Place
from .inputs import Data
from .store import Store
from .work import Analytic, Function

_COPIES = 6  # of a tile of one kind in memory at once


@dataclass
class Job:
    """A kernel, its inputs, and where its tiles go."""

    kernel: Analytic | Function
    x1: Data
    x2: Data | None
    store: Store
    device: Any = None  # or a list, of which each process takes its own
    threads: int | None = None  # of torch in other processes; None leaves them as they are
    path: Path | None = None  # where other processes find this; gone when no one waits for its tiles any more

    def tile_bytes(self) -> int:
        """Memory that a tile takes, roughly: inputs, and copies of the result."""
        return memory_of(
            self.store.manifest.tile, self.x1.row_bytes, len(self.kernel.kinds), self.store.manifest.numpy_dtype.itemsize
        )

    def tile(self, place: Place) -> dict[str, np.ndarray]:
        """The numbers of a tile of each kind."""
        grid, manifest = self.store.grid, self.store.manifest
        rows, columns = grid.slices(place)
        diagonal = grid.symmetric and rows == columns
        x1 = self.x1.rows(rows, self.device)
        x2 = None if diagonal else (self.x1 if self.x2 is None else self.x2).rows(columns, self.device)
        try:
            found = {kind: value.cpu().numpy() for kind, value in self.kernel(x1, x2).items()}
        except Exception as error:
            error.add_note(
                f"in rows {rows.start} to {rows.stop - 1} and columns {columns.start} to {columns.stop - 1} of {self.store.root}"
            )
            raise
        for kind, value in found.items():
            if value.dtype != manifest.numpy_dtype:
                raise TypeError(f"{kind}: expected {manifest.dtype}, as in its first tile, got {value.dtype} in tile {place}.")
        return found

    def begin(self, place: Place) -> Callable[[], dict[str, Any]]:
        """Compute a tile; what it returns stores the tile and says how long both took."""
        start = time.perf_counter()
        found = self.tile(place)
        seconds = time.perf_counter() - start

        def finish() -> dict[str, Any]:
            if self.path is not None and not self.path.exists():
                raise Abandoned(f"no one waits for tile {place} of {self.store.root} any more")
            began = time.perf_counter()
            size = self.store.write(place, found)
            return {
                "tile": list(place), "seconds": round(seconds, 6), "write_seconds": round(time.perf_counter() - began, 6),
                "bytes": size, "host": socket.gethostname(), "pid": os.getpid(), "time": round(time.time(), 3),
            }  # fmt: skip

        return finish

    def send(self) -> Path:
        """Write this for other processes; inputs in memory are written beside it."""
        import cloudpickle

        folder = self.store.side / f"job-{uuid.uuid4().hex}"
        folder.mkdir()
        path = folder / "job.pkl"
        x2 = None if self.x2 is None else self.x2.portable(folder)
        portable = replace(self, x1=self.x1.portable(folder), x2=x2, path=path)
        replace_file(path, [cloudpickle.dumps(portable)], folder)
        return path


def memory_of(side: int, row_bytes: int, kinds: int, itemsize: int) -> int:
    """Bytes that a tile takes: inputs of both sides, and the result computed, turned, padded and waiting to be written."""
    return side * (2 * row_bytes + kinds * _COPIES * itemsize * side)


class Abandoned(RuntimeError):
    """The process that asked for a tile has ended or was called again."""
