"""Tiles in this process: computed one after the other with all of torch's threads, written while the next one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .grid import Place
from .job import Job

_WAITING = 2  # tiles in memory that are not written yet


def run_here(job: Job, places: list[Place], done: Callable[[dict[str, Any]], None]) -> None:
    """Compute and store tiles; `done` is told of each."""
    with ThreadPoolExecutor(1, "torchtangents-write") as writer:
        waiting: deque[Future] = deque()
        try:
            for place in places:
                waiting.append(writer.submit(job.begin(place)))
                while len(waiting) > _WAITING:
                    done(waiting.popleft().result())
        finally:  # also after Ctrl-C: a tile that is computed is stored
            while waiting:
                done(waiting.popleft().result())
