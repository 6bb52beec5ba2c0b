"""Which recording is under way in this thread."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

import torch


class Recording(Protocol):
    """What a layer needs of a recorder."""

    batch: int
    dtype: torch.dtype  # of the data

    def leaf(self, layer: Any, args: tuple, kwargs: dict) -> Any:
        """Record a layer's rule instead of running it."""
        ...


current: ContextVar[Recording | None] = ContextVar("recording", default=None)


def recording() -> Recording | None:
    """The recorder of this thread's forward pass, if one is under way."""
    return current.get()


def batch() -> int:
    """The number of inputs of the recording."""
    recorder = current.get()
    if recorder is None:
        raise RuntimeError("no recording is under way in this thread")
    return recorder.batch
