"""A stored kernel to read: as zarr or dask arrays, or as tensors of chosen rows and columns."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .chunks import chunk_bytes
from .job import Job
from .local import run_here
from .store import Damage, Store


class Handle:
    """A kernel in a store, complete or not. `tt.scale.compute` and `tt.scale.open` return it.

    Example:
        >>> import tempfile, torch, torchtangents as tt
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     k = tt.scale.compute(tt.nn.Linear(2, 1, b_std=0.), torch.eye(2), store=f"{folder}/k.zarr")
        ...     k.shape, k.complete, k.verify(), k.torch(slice(0, 2), slice(0, 2), kind="nngp")
        ((2, 2), True, [], tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]]))
    """

    def __init__(self, store: Store, job: Job | None = None):
        self.store, self._job = store, job

    @property
    def path(self) -> Path:
        """The folder."""
        return self.store.root

    @property
    def shape(self) -> tuple[int, int]:
        """(N1, N2)."""
        return self.store.manifest.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the kernels."""
        return self.store.manifest.numpy_dtype

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which kernels are stored, of "nngp" and "ntk"."""
        return self.store.manifest.kinds

    @property
    def tile(self) -> int:
        """Inputs on a side of a tile, which is a chunk of zarr."""
        return self.store.manifest.tile

    @property
    def symmetric(self) -> bool:
        """Whether it is the kernel of x1 with itself (x2=None); both triangles are stored."""
        return self.store.manifest.symmetric

    @property
    def attributes(self) -> dict[str, Any]:
        """What `compute` was told to keep."""
        return self.store.manifest.attributes

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every computation of a tile: its tile, seconds, write_seconds, bytes, host, pid and time."""
        return self.store.records()

    @property
    def progress(self) -> float:
        """The fraction of tiles that is there, from 0 to 1."""
        return 1 - len(self.store.missing()) / self.store.grid.count

    @property
    def complete(self) -> bool:
        """Whether all tiles are there."""
        return not self.store.missing()

    @property
    def nngp(self) -> Any:
        """The NNGP kernel, a zarr array (N1, N2), to read; NaN where a tile is not computed yet."""
        return self._array("nngp")

    @property
    def ntk(self) -> Any:
        """The NTK, a zarr array (N1, N2), to read; NaN where a tile is not computed yet."""
        return self._array("ntk")

    def dask(self, kind: str = "ntk") -> Any:
        """A kernel as a dask array (N1, N2) in chunks of a tile."""
        import dask.array

        return dask.array.from_zarr(self._array(kind))

    def torch(self, rows: Any = slice(None), cols: Any = slice(None), kind: str = "ntk") -> Tensor:
        """A part of a kernel as a tensor: every chosen row with every chosen column.

        Args:
            rows, cols: slices, or numbers of rows and columns as lists, arrays or tensors of integers.
            kind: "nngp" or "ntk".

        Raises:
            ValueError: a tile in it is not computed yet, or is damaged.
        """
        array = self._array(kind)
        picked = tuple(p.numpy() if isinstance(p, Tensor) else p for p in (rows, cols))
        try:
            values = array.oindex[picked]
        except ValueError as error:
            if "checksum" not in str(error).lower():
                raise
            raise ValueError(
                f"{self.path}: a tile is damaged ({error}); handle.verify() finds it, compute makes it again."
            ) from error
        if np.isnan(values).any():
            raise ValueError(
                f"{self.path}: a tile in this part is not computed yet ({self.progress:.1%} is); call compute again, which "
                "continues."
            )
        return torch.from_numpy(np.ascontiguousarray(values))

    def verify(self, repair: bool = False, progress: bool | None = None) -> list[Damage]:
        """Read every tile and tell which are missing, cut off, changed, or unlike their mirror image.

        Args:
            repair: compute those again; a handle from `open` has no model to do so, `compute` does it when called again.
            progress: as in `tt.ntk`.

        Returns:
            (tile, reason) of each; a tile is (i, j), covering rows from i * tile and columns from j * tile.
        """
        if repair and self._job is None:
            raise ValueError(
                f"{self.path}: repair needs the model and the inputs; call tt.scale.compute with them, which repairs too."
            )
        looked = self.store.inspected(list(self.store.grid.places()), progress)
        found = [Damage(place, reason) for place, reason in looked if reason]
        if repair and found:
            assert self._job is not None
            with self.store.locked():
                run_here(self._job, [d.tile for d in found], self.store.record)
        return found

    def delete(self) -> None:
        """Remove the store from the disk."""
        with self.store.locked():
            shutil.rmtree(self.path)

    def _array(self, kind: str) -> Any:
        if kind not in self.kinds:
            raise ValueError(f"kind: expected one of {', '.join(map(repr, self.kinds))}, which {self.path} holds, got {kind!r}.")
        return self.store.array(kind)

    def __repr__(self) -> str:
        m = self.store.manifest
        size = len(m.kinds) * np.prod(self.store.grid.sides) * chunk_bytes(m.tile, m.numpy_dtype)
        return (
            f"<stored kernel {str(self.path)!r}: {' and '.join(m.kinds)} of {m.model['name']}, {m.shape[0]:,} x {m.shape[1]:,} "
            f"{m.dtype}{', symmetric' if m.symmetric else ''}, {self.store.grid.count:,} tiles of {m.tile}, {sized(size)}, "
            f"{self.progress:.1%} computed>"
        )

    def _repr_html_(self) -> str:
        m = self.store.manifest
        rows = {
            "store": self.path, "kernels": ", ".join(m.kinds), "model": m.model["name"],
            "shape": f"{m.shape[0]:,} x {m.shape[1]:,}", "dtype": m.dtype,
            "tiles": f"{self.store.grid.count:,} of {m.tile} x {m.tile}", "computed": f"{self.progress:.1%}",
        }  # fmt: skip
        return "<table>" + "".join(f"<tr><th>{k}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items()) + "</table>"


def sized(size: float) -> str:
    """Bytes in words."""
    units = ("bytes", "KB", "MB", "GB", "TB")
    power = next((k for k in range(len(units) - 1) if size < 1000 ** (k + 1)), len(units) - 1)
    return f"{size / 1000**power:,.{min(power, 1)}f} {units[power]}"
