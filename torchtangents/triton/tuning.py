"""How many planes a warp takes one after the other, found while tiles are computed: each choice takes one, then the fastest all.

Choices give the same bits and compile nothing, no tile is computed twice, and nothing waits: events are looked at when a later
tile begins. What was found holds for the process, per run and device: times of one run say nothing of a longer one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import torch

CHOICES = (8, 16, 4, 32)  # the first one until all are known


class Event(Protocol):
    """What torch.cuda.Event does."""

    def record(self) -> None: ...
    def query(self) -> bool: ...
    def elapsed_time(self, end_event: Event) -> float: ...


class Tuner:
    """The choices of one run; the first launch, which may compile, counts for none of them. Threads may share one."""

    def __init__(self, event: Callable[[], Event]):
        self._event, self._lock = event, Lock()
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
        with self._lock:
            self._look()
            measured = bool(self._left)
            chosen = self._left.pop(0) if measured else self.best
        if not measured:
            yield chosen or CHOICES[0]
            return
        start, end = self._event(), self._event()
        start.record()
        yield chosen or CHOICES[0]
        end.record()
        if chosen:
            with self._lock:
                self._pending.append((chosen, units, start, end))

    def _look(self) -> None:
        """Takes the times of what is done."""
        done = [p for p in self._pending if p[3].query()]
        self._pending = [p for p in self._pending if p not in done]
        self.times |= {chosen: start.elapsed_time(end) / units for chosen, units, start, end in done}


_TUNERS: dict[Hashable, Tuner] = {}


def tuner(key: Hashable) -> Tuner:
    """That of a run on the current device."""
    return _TUNERS.setdefault((torch.cuda.current_device(), key), Tuner(lambda: torch.cuda.Event(enable_timing=True)))
