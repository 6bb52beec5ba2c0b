"""Tiles as tasks of dask: workers read the job from the store once, write tiles there themselves, and send back a record of each.

A task is a path and two numbers, so the scheduler carries nothing heavy, and what workers hold can be lost at any time.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..engine.memory import free_bytes
from .grid import Place
from .job import Job
from .manifest import versions
from .watch import announce

_RETRIES = 2  # of a task that raises
_DEATHS = 4  # times that dask may give up on a tile because its workers died, each after `distributed.scheduler.allowed-failures`
_GONE = "client: the scheduler is gone; start one and call compute again, which continues."
_PATIENCE = 10.0  # seconds in which a file that another machine wrote must appear
_TICK = 0.01  # seconds between two looks at what has ended
_LOOK = 5.0  # seconds between two looks at the size of the cluster
_AHEAD = 3  # tasks a worker's thread that wait, so that the scheduler never holds more than a few

Record = dict[str, Any]


def run_on(client: Any, job: Job, places: list[Place], done: Callable[[Record], None]) -> None:
    """Compute tiles on the workers of a `distributed.Client`; `done` is told of each.

    Raises:
        RuntimeError: the scheduler is gone, or workers die whenever they compute one tile.
        FileNotFoundError: workers cannot see the store.
    """
    from distributed.comm import CommClosedError

    path = job.send()
    try:
        if not client.nthreads():
            announce("client: waiting for the first worker", None)
        client.wait_for_workers(1)
        _require_fit(client, path)
        _Feed(client, path, iter(places), _resources(client, job)).run(done)
    except CommClosedError as error:
        raise RuntimeError(_GONE) from error
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)  # tells workers that still compute that no one waits


class _Feed:
    """Keeps a few tasks for each thread of the cluster in flight, and no more."""

    def __init__(self, client: Any, path: Path, places: Iterator[Place], resources: dict[str, float]):
        from distributed import as_completed

        self.client, self.path, self.places, self.resources = client, path, places, resources
        self.flying: dict[Any, Place] = {}
        self.deaths: Counter[Place] = Counter()
        self.finished = as_completed(loop=client.loop)
        self.window, self.looked, self.alone = 0, -_LOOK, False

    def run(self, done: Callable[[Record], None]) -> None:
        """Until all tiles are there."""
        from distributed import KilledWorker

        try:
            while self._fill():
                future = self._next()
                place = self.flying.pop(future)
                if future.status == "finished":
                    done(future.result())
                elif future.status == "error" and not isinstance(error := future.exception(), KilledWorker):
                    del future  # a traceback that is kept holds no tasks
                    raise error
                else:
                    self.deaths[place] += 1
                    _require_alive(self.client, place, self.deaths[place])
                    self._submit(place)
        finally:
            self.client.cancel(list(self.flying), force=True)
            self.flying.clear()

    def _fill(self) -> bool:
        """Submit what there is room for; whether anything is left to wait for."""
        self._look()
        while len(self.flying) < self.window and (place := next(self.places, None)) is not None:
            self._submit(place)
        return bool(self.flying)

    def _submit(self, place: Place) -> None:
        key = f"tile-{self.path.parent.name}-{place[0]}-{place[1]}-{self.deaths[place]}"
        future = self.client.submit(compute_tile, str(self.path), place, key=key, retries=_RETRIES, resources=self.resources)
        self.flying[future] = place
        self.finished.add(future)

    def _next(self) -> Any:
        """The next task that ended."""
        while not self.finished.has_ready():
            time.sleep(_TICK)
            self._look()
        return next(self.finished)

    def _look(self) -> None:
        """Now and then, how large the cluster is: it may grow and shrink."""
        if time.monotonic() - self.looked < _LOOK:
            return
        threads = sum(self.client.nthreads().values()) if self.client.status == "running" else 0
        if not threads and not self.alone:
            announce("client: the cluster has no workers; waiting until some join", None)
        self.window, self.looked, self.alone = max(1, threads) * (1 + _AHEAD), time.monotonic(), not threads


def _require_alive(client: Any, place: Place, deaths: int) -> None:
    """Go on after the loss of a task, unless there is no reason to hope."""
    if client.status != "running":
        raise RuntimeError(_GONE)
    if deaths > _DEATHS:
        raise RuntimeError(
            f"client: workers died {deaths} times over while they computed tile {place}; look at their memory, or use a "
            "smaller tile in a new store."
        )


def compute_tile(path: str, place: Place) -> Record:
    """One task: a tile, unless it is there already."""
    job = _loaded(path, _index())
    if not job.store.missing_files(place):  # its record was lost with the worker that held it
        return {"tile": list(place), "seconds": 0.0, "found": True}
    return job.begin(place)()


@functools.lru_cache(maxsize=2)
def _loaded(path: str, index: int) -> Job:
    """The job, read once by each process."""
    if not _appears(path):
        raise FileNotFoundError(f"{path}: this worker on {socket.gethostname()} cannot see the store, or no one waits any more")
    with open(path, "rb") as file:
        job: Job = pickle.load(file)
    if job.threads:
        torch.set_num_threads(job.threads)
    if isinstance(job.device, list):
        job.device = job.device[index % len(job.device)]
    if job.device is not None:
        job.kernel.to(job.device)
    return job


def _index() -> int:
    """The number of this worker, of those that `workers_here` started."""
    from distributed import get_worker

    try:
        return int(get_worker().name)
    except (ValueError, TypeError):
        return 0


def memory(client: Any) -> int:
    """Bytes that a task may take, by the limits that workers declare; of this machine where none does."""
    workers = client.scheduler_info()["workers"].values()
    limits = [w["memory_limit"] // max(1, w["nthreads"]) for w in workers if w.get("memory_limit")]
    return min(limits, default=free_bytes(torch.device("cpu")))


def _require_fit(client: Any, path: Path) -> None:
    """Refuse workers that cannot see the store, or run other versions."""
    seen = client.run(_look, str(path), on_error="return")
    here = versions()
    for address, answer in seen.items():
        if isinstance(answer, Exception):  # it has just died; another may take its place
            continue
        host, sees, there = answer
        if not sees:
            raise FileNotFoundError(
                f"client: worker {address} on {host} cannot see the store at {path.parent}; expected a folder on a file "
                "system that this process and all workers share, under the same path."
            )
        if there["torchtangents"] != here["torchtangents"]:
            raise RuntimeError(
                f"client: worker {address} on {host} runs torchtangents {there['torchtangents']}, this process "
                f"{here['torchtangents']}; expected one version everywhere."
            )


def _look(path: str) -> tuple[str, bool, dict[str, str]]:
    return socket.gethostname(), _appears(path), versions()


def _appears(path: str) -> bool:
    """Whether a file is there; one that was just written may take some seconds to be seen over a network."""
    end = time.monotonic() + _PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _resources(client: Any, job: Job) -> dict[str, float]:
    """What a task asks of those resources that workers declare: one GPU, and the bytes of a tile."""
    declared = {name for w in client.scheduler_info()["workers"].values() for name in w.get("resources", {})}
    asked = {"GPU": 1.0, "MEMORY": float(job.tile_bytes())}
    return {name: asked[name.upper()] for name in declared if name.upper() in asked}


@contextmanager
def workers_here(count: int, threads: int) -> Iterator[Any]:
    """A client of `count` processes on this machine, each with one task at a time and `threads` threads inside of it."""
    import dask
    from distributed import Client, LocalCluster

    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": None}),  # a machine that sleeps has not lost its processes
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=":0", memory_limit=None,
            silence_logs=logging.CRITICAL, env=environment, host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client
