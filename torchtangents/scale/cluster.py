"""Tiles as tasks of dask: workers read the job from the store once, write tiles there themselves, and send back a record of each.

A task is a path and two numbers, so the scheduler carries nothing heavy, and what workers hold can be lost at any time.
"""

from __future__ import annotations

import functools
import logging
import pickle
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .grid import Place
from .job import Job
from .manifest import versions

_RETRIES = 2  # of a task that raises
_DEATHS = 4  # times that dask may give up on a tile because its workers died, each after `distributed.scheduler.allowed-failures`
_GONE = "client: the scheduler is gone; start one and call compute again, which continues."
_AHEAD = 3  # tasks a worker's thread that wait, so that the scheduler never holds more than a few

Record = dict[str, Any]


def run_on(client: Any, job: Job, places: list[Place], done: Callable[[Record], None]) -> None:
    """Compute tiles on the workers of a `distributed.Client`; `done` is told of each.

    Raises:
        RuntimeError: the scheduler is gone, or workers die whenever they compute one tile.
        FileNotFoundError: workers cannot see the store.
    """
    from distributed import CommClosedError

    path = job.send()
    try:
        client.wait_for_workers(1)
        _require_fit(client, path)
        _feed(client, path, iter(places), _resources(client, job), done)
    except CommClosedError as error:
        raise RuntimeError(_GONE) from error
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)  # tells workers that still compute that no one waits


def _feed(client: Any, path: Path, places: Iterator[Place], resources: dict[str, float], done: Callable[[Record], None]) -> None:
    """Keep a few tasks for each thread of the cluster in flight."""
    from distributed import KilledWorker, as_completed

    flying: dict[Any, Place] = {}
    deaths: Counter[Place] = Counter()
    finished = as_completed(loop=client.loop)

    def submit(place: Place) -> None:
        key = f"tile-{path.parent.name}-{place[0]}-{place[1]}-{deaths[place]}"
        future = client.submit(compute_tile, str(path), place, key=key, retries=_RETRIES, resources=resources)
        flying[future] = place
        finished.add(future)

    def fill() -> None:
        threads = sum(client.nthreads().values()) or 1  # the cluster may grow and shrink
        while len(flying) < threads * (1 + _AHEAD) and (place := next(places, None)) is not None:
            submit(place)

    try:
        fill()
        for future in finished:
            place = flying.pop(future)
            if future.status == "finished":
                done(future.result())
            elif future.status == "error" and not isinstance(future.exception(), KilledWorker):
                raise future.exception()
            else:
                deaths[place] += 1
                _require_alive(client, place, deaths[place])
                submit(place)
            del future
            fill()
    finally:
        client.cancel(list(flying), force=True)


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


def _require_fit(client: Any, path: Path) -> None:
    """Refuse workers that cannot see the store, or run other versions."""
    seen = client.run(_look, str(path))
    here = versions()
    for address, (host, sees, there) in seen.items():
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
    return socket.gethostname(), Path(path).exists(), versions()


def _resources(client: Any, job: Job) -> dict[str, float]:
    """What a task asks of those resources that workers declare: one GPU, and the bytes of a tile."""
    declared = {name for w in client.scheduler_info()["workers"].values() for name in w.get("resources", {})}
    asked = {"GPU": 1.0, "MEMORY": float(job.tile_bytes())}
    return {name: asked[name.upper()] for name in declared if name.upper() in asked}


@contextmanager
def workers_here(count: int, threads: int) -> Iterator[Any]:
    """A client of `count` processes on this machine, each with one task at a time and `threads` threads inside of it."""
    from distributed import Client, LocalCluster

    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None,
            silence_logs=logging.CRITICAL, env=environment, host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client
