"""Inputs of any size, read by slices of rows: tensors, numpy arrays and memmaps, zarr arrays, or tuples of them."""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .chunks import space_for

_BLOCK = 1 << 24  # bytes of rows read at a time


@dataclass(frozen=True)
class Mapped:
    """An array in a file, as any process that sees the file can open it."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def open(self) -> np.ndarray:
        """A view of the file."""
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


class Data:
    """The arguments of a kernel for N inputs; every one has them on axis 0."""

    def __init__(self, x: Any, name: str):
        self.name, self.single = name, not isinstance(x, (tuple, list))
        self.arrays = [x] if self.single else list(x)
        if not self.arrays:
            raise ValueError(f"{name}: expected at least one array, got an empty {type(x).__name__}.")
        for k, array in enumerate(self.arrays):
            if not hasattr(array, "shape") or not hasattr(array, "dtype") or not hasattr(array, "__getitem__"):
                raise TypeError(
                    f"{self.called(k)}: expected a tensor, a numpy array or memmap, or a zarr array, got {type(array).__name__}; "
                    "bind what all inputs share in a wrapper module."
                )
            if not array.shape or not array.shape[0]:
                raise ValueError(f"{self.called(k)}: expected inputs on axis 0, at least one, got shape {tuple(array.shape)}.")
            if array.shape[0] != self.count:
                raise ValueError(
                    f"{self.called(k)}: expected {self.count:,} inputs, as in {self.called(0)}, got {array.shape[0]:,}."
                )

    def called(self, k: int) -> str:
        """The name of one argument, for messages."""
        return self.name if self.single else f"{self.name}[{k}]"

    @property
    def count(self) -> int:
        """How many inputs."""
        return int(self.arrays[0].shape[0])

    @property
    def device(self) -> str | None:
        """Where the first argument is, unless that is this machine's memory."""
        first = self.arrays[0]
        return str(first.device) if isinstance(first, Tensor) and first.device.type != "cpu" else None

    @property
    def row_bytes(self) -> int:
        """Of one input."""
        return sum(_itemsize(a) * math.prod(a.shape[1:]) for a in self.arrays)

    def kinds(self) -> list[dict[str, Any]]:
        """dtype and shape of one input, for each argument."""
        return [{"dtype": _dtype_name(a), "shape": [int(s) for s in a.shape[1:]]} for a in self.arrays]

    def rows(self, rows: slice, device: Any = None) -> Any:
        """Some inputs, as the kernel takes them: a tensor, or a tuple of tensors."""
        parts = tuple(self._part(a, rows) for a in self.arrays)
        if device is not None:
            parts = tuple(p.to(device) for p in parts)
        return parts[0] if self.single else parts

    def _part(self, array: Any, rows: slice) -> Tensor:
        if isinstance(array, Tensor):
            return array.detach()[rows]
        if isinstance(array, Mapped):
            array = array.open()
        part = np.array(array[rows])  # a copy, in memory
        return torch.from_numpy(part.astype(part.dtype.newbyteorder("="), copy=False))

    def blocks(self) -> Iterator[slice]:
        """Slices of rows of some MB."""
        step = max(1, _BLOCK // max(1, self.row_bytes))
        yield from (slice(i, min(self.count, i + step)) for i in range(0, self.count, step))

    def digest(self, prefix: int | None = None) -> tuple[str, str | None]:
        """SHA-256 of all inputs, and of the first `prefix` ones; refuses NaN and infinity on the way."""
        parts = [hashlib.sha256() for _ in self.arrays]
        early = None
        for rows in self.blocks():
            cut = prefix is not None and rows.start < prefix <= rows.stop
            pieces = [slice(rows.start, prefix), slice(prefix, rows.stop)] if cut else [rows]
            for piece in pieces:
                if piece.start < piece.stop:
                    for k, array in enumerate(self.arrays):
                        values = self._part(array, piece).cpu().contiguous()
                        self._check_finite(k, values, piece.start)
                        parts[k].update(values.flatten().view(torch.uint8).numpy().data)
                if piece.stop == prefix:
                    early = "-".join(p.hexdigest() for p in parts)
        return "-".join(p.hexdigest() for p in parts), early

    def _check_finite(self, k: int, values: Tensor, start: int) -> None:
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            at = (~torch.isfinite(values)).nonzero()[0].tolist()
            raise ValueError(
                f"{self.called(k)}: expected finite numbers, got {values[tuple(at)].item()} at index {(at[0] + start, *at[1:])}; "
                "remove that input."
            )

    def portable(self, folder: Path) -> Data:
        """The same inputs for other processes: files are named, what is in memory is written to `folder`."""
        out = object.__new__(Data)
        out.name, out.single = self.name, self.single
        out.arrays = [self._ported(k, a, folder) for k, a in enumerate(self.arrays)]
        return out

    def _ported(self, k: int, array: Any, folder: Path) -> Any:
        if isinstance(array, Mapped) or type(array).__module__.startswith("zarr."):
            return array
        if isinstance(array, np.memmap) and (found := _mapped(array)) is not None:
            return found
        path = folder / f"{self.name}-{k}.npy"
        dtype = torch.empty(0, dtype=array.dtype, device="cpu").numpy().dtype if isinstance(array, Tensor) else array.dtype
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype.newbyteorder("=")),
            "fortran_order": False,
            "shape": tuple(array.shape),
        }
        with space_for(path), open(path, "wb") as file:  # not through a memmap, which a full disk would kill
            np.lib.format.write_array_header_1_0(file, header)
            for rows in self.blocks():
                file.write(self._part(array, rows).cpu().contiguous().numpy().data)
        return _mapped(np.load(path, mmap_mode="r"))


def _mapped(array: np.memmap) -> Mapped | None:
    """Where in its file a memmap lies; None where it is no plain stretch of one."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or not isinstance(root.base, mmap.mmap) or root.filename is None:
        return None
    if not array.flags.c_contiguous or array.dtype.hasobject:
        return None
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return Mapped(str(root.filename), array.dtype.str, tuple(array.shape), offset)


def _itemsize(array: Any) -> int:
    return np.dtype(array.dtype).itemsize if isinstance(array, Mapped) else array.dtype.itemsize


def _dtype_name(array: Any) -> str:
    if isinstance(array, Tensor):
        return str(array.dtype).removeprefix("torch.")
    return np.dtype(array.dtype).newbyteorder("=").name
