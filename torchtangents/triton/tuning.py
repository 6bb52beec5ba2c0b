"""How many planes a warp takes one after the other, found while tiles are computed: each choice takes one, then the fastest all.

Choices give the same bits and compile nothing, no tile is computed twice, and nothing waits: events are looked at when a later
tile begins. What was found holds for the process, per kernel and device.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

CHOICES = (8, 16, 4, 32)  # the first one until all are known


class Event(Protocol):
    """What torch.cuda.Event does."""

    def record(self) -> None: ...
    def query(self) -> bool: ...
    def elapsed_time(self, end_event: Event) -> float: ...


class Tuner:
    """The choices of one kernel; the first launch, which compiles, counts for none of them."""

    def __init__(self, event: Callable[[], Event]):
        self._event = event
        self._left: list[int | None] = [None, *CHOICES]
        self._pending: list[tuple[int, int, Event, Event]] = []
        self.times: dict[int, float] = {}  # of a unit

    @property
    def best(self) -> int:
        """The fastest choice, the first one while some are unknown."""
        return min(self.times, key=self.times.__getitem__) if len(self.times) == len(CHOICES) else CHOICES[0]

    @contextmanager
    def choice(self, units: int) -> Iterator[int]:
        """Planes of a warp for a launch of some units, which is measured while choices are left."""
        self._look()
        if not self._left:
            yield self.best
            return
        chosen = self._left.pop(0)
        start, end = self._event(), self._event()
        start.record()
        yield chosen or CHOICES[0]
        end.record()
        if chosen:
            self._pending.append((chosen, units, start, end))

    def _look(self) -> None:
        """Takes the times of what is done."""
        done = [p for p in self._pending if p[3].query()]
        self._pending = [p for p in self._pending if p not in done]
        self.times |= {chosen: start.elapsed_time(end) / units for chosen, units, start, end in done}


_TUNERS: dict[Hashable, Tuner] = {}


def tuner(key: Hashable) -> Tuner:
    """That of a kernel on the current device."""
    return _TUNERS.setdefault((torch.cuda.current_device(), key), Tuner(lambda: torch.cuda.Event(enable_timing=True)))
