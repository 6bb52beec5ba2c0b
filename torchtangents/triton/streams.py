"""Two CUDA streams whose tiles take turns: layers, which arithmetic bounds, run beside pools of another, which memory bounds.

Memory of a tile belongs to its stream, so that nothing waits between tiles: PyTorch keeps what was freed for the same stream.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Streams:
    """Where the tiles of one call are launched, one after the other; `tiles`: how many there are."""

    def __init__(self, device: torch.device, tiles: int):
        self.device, self.begun = device, 0
        self.streams = _pair(torch.device(device)) if device.type == "cuda" and tiles > 1 else []

    @property
    def turns(self) -> bool:
        """Whether there are two."""
        return len(self.streams) > 1

    @contextmanager
    def tile(self) -> Iterator[None]:
        """The stream of the next tile."""
        if not self.turns:
            yield
            return
        own, other = self.streams[self.begun % 2], self.streams[1 - self.begun % 2]
        if self.begun == 0:
            own.wait_stream(torch.cuda.current_stream(self.device))
        elif self.begun == 1:  # tables that the first tile makes are those of all
            own.wait_stream(other)
        self.begun += 1
        with torch.cuda.stream(own):
            yield

    def join(self) -> None:
        """What follows comes after all tiles."""
        for stream in self.streams[: self.begun]:
            torch.cuda.current_stream(self.device).wait_stream(stream)


@functools.cache
def _pair(device: torch.device) -> list[torch.cuda.Stream]:
    """The same two for every call: memory that PyTorch keeps for a stream is lost to others."""
    return [torch.cuda.Stream(device) for _ in range(2)]
