"""One tile as a file of zarr: raw numbers and their CRC-32C, written to the side, then renamed into place."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

import numpy as np

CHECKSUM = 4  # bytes at the end, zarr's codec "crc32c", which every zarr reader checks


def replace_file(path: Path, parts: list, side: Path) -> None:
    """Write `parts` (bytes) so that `path` is the old file or the whole new one, whenever the process or the machine stops.

    Raises:
        OSError: with errno ENOSPC and what to do, where the disk is full.
    """
    temporary = side / f"{uuid.uuid4().hex}.part"
    try:
        with open(temporary, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno, f"the disk is full: {path} could not be written. Make space and call compute again, which continues"
            ) from error
        raise


def chunk_path(root: Path, kind: str, place: tuple[int, int]) -> Path:
    """Where zarr looks for a chunk."""
    return root / kind / "c" / str(place[0]) / str(place[1])


def chunk_bytes(tile: int, dtype: np.dtype) -> int:
    """The size of every chunk's file; those at an edge are padded."""
    return tile * tile * dtype.itemsize + CHECKSUM


def write_chunk(path: Path, values: np.ndarray, tile: int, side: Path) -> None:
    """Make a tile (n1, n2), n1 and n2 at most `tile`, visible as a chunk."""
    import google_crc32c

    data = np.full((tile, tile), np.nan, values.dtype.newbyteorder("<"))
    data[: values.shape[0], : values.shape[1]] = values
    raw = data.view(np.uint8).reshape(-1)
    replace_file(path, [raw.data, google_crc32c.value(raw).to_bytes(CHECKSUM, "little")], side)


def read_chunk(path: Path, tile: int, dtype: np.dtype) -> tuple[np.ndarray | None, str]:
    """The (tile, tile) numbers of a chunk, or None and what is wrong with its file."""
    import google_crc32c

    size = chunk_bytes(tile, dtype)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None, "missing"
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    if len(raw) != size:
        return None, f"truncated: {len(raw):,} of {size:,} bytes" if len(raw) < size else f"{len(raw):,} bytes, expected {size:,}"
    body = np.frombuffer(raw, np.uint8)[:-CHECKSUM]
    if google_crc32c.value(body) != int.from_bytes(raw[-CHECKSUM:], "little"):
        return None, "its checksum differs"
    return body.view(dtype.newbyteorder("<")).reshape(tile, tile), ""
