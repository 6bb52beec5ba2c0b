"""Conjugate gradients' state in a file, written to the side and moved, so that there is always a whole one."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .cg import State

_VERSION = 1


class Checkpoint:
    """A file of one solve, which names what it belongs to.

    Args:
        path: the file, or None for none; its folder must exist.
        identity: names and values that must be the same when it is taken up again.
        interval: seconds between two writes; 0 is every iteration.
    """

    def __init__(self, path: str | os.PathLike | None, identity: dict[str, str], interval: float):
        self.path, self.identity, self.interval = None if path is None else Path(path), identity, interval
        self._last = time.monotonic()
        if self.path is not None and not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"checkpoint: expected an existing folder, got {self.path.absolute().parent}; make it first.")

    def load(self, shapes: dict[str, tuple[int, ...]]) -> State | None:
        """The state that was saved, None if there is none.

        Raises:
            ValueError: no checkpoint, a damaged one, or that of another matrix, other targets or another diag_reg, by name.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                entries = {name: file[name] for name in file.files}
            header = json.loads(bytes(entries.pop("header")).decode())
            found = {name: tuple(value.shape) for name, value in entries.items()}
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"checkpoint: expected a state of tt.scale.solve, got a file that cannot be read, {self.path} ({error}); "
                "delete it to start anew."
            ) from error
        if header["version"] != _VERSION:
            raise ValueError(f"checkpoint: expected version {_VERSION}, got {header['version']}; delete {self.path}.")
        other = [name for name, value in self.identity.items() if header["identity"].get(name) != value]
        if other or found != shapes:
            changes = ", ".join(f"{name} ({header['identity'].get(name)} there, {self.identity[name]} here)" for name in other)
            raise ValueError(
                f"checkpoint: expected the state of this solve, got that of another in {self.path}; it differs in "
                f"{changes or f'shapes ({found} there, {shapes} here)'}; pass another path, or delete it to start anew."
            )
        return State.from_tensors({name: torch.from_numpy(np.array(value)) for name, value in entries.items()})

    def save(self, state: State, last: bool) -> None:
        """Write `state` if it is time, or the `last`."""
        if self.path is None or (not last and time.monotonic() - self._last < self.interval):
            return
        write(self.path, state.tensors(), {"version": _VERSION, "identity": self.identity})
        self._last = time.monotonic()


def write(path: Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write a file, flush it to the disk and give it its name; what bore it before is whole until then."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    try:
        with open(aside, "wb") as file:
            np.savez(file, header=text, **{name: value.numpy() for name, value in tensors.items()})  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
