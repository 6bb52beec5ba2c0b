"""`tt.scale.estimate`: a few calls of the real kernel and a few files, timed, and the cost model fitted to them."""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine.memory import free_bytes
from . import cluster
from .arguments import as_backend, as_kinds
from .chunks import chunk_bytes, write_chunk
from .cost import Costs, Estimate, Measured, call_seconds, operations, work
from .inputs import Data
from .plan import _side
from .work import BLOCK, KINDS, Analytic, Function, kernel_of

_LANES = 16  # second inputs of the smallest call: compiled code computes so many at a time
_SHARE = 12  # the largest call takes at most this part of the time
_ROUNDS = 5
_WHOLE = 1 << 20  # inputs of a call of a function, which is never cut into blocks
_FILES = 4  # of each size, at least
_SMALL_FILE = 512  # inputs on a side of the least file, so that data of a few rows also tell what a byte costs
_WRITTEN = 1 << 28  # bytes after which enough were written
_PIPED = 4  # tiles computed and written at once: more would fill what a disk takes before it slows down
_TRIALS = 3
_WAITING = 2  # of them not yet written, as in `local.py`
_FAINT = 0.02  # of the larger of two times, below which the smaller does not matter
_SAMPLE = 1 << 26  # bytes of inputs hashed


def estimate(
    model_or_kernel_fn: Any, x1: Any, x2: Any = None, *, kinds: Sequence[str] = KINDS, tile: int | None = None,
    seconds: float = 60.0, workers: int = 1, backend: str = "auto", device: Any = None, threads: int | None = None,
    overhead: float | None = None, client: Any = None, folder: str | os.PathLike[str] | None = None,
) -> Estimate:  # fmt: skip
    """Predict the time, tiles, bytes and memory of `tt.scale.compute` from a short measurement.

    Calls of several sizes are timed on the first inputs, and fixed costs, costs of an input and costs of a pair separated by
    non-negative least squares of relative errors; files are written and removed. The model is in `torchtangents/scale/cost.py`.

    Args:
        model_or_kernel_fn, x1, x2, kinds, tile, backend: as in `tt.scale.compute`.
        seconds: how long to measure at most, warm-up and the start of a cluster excluded; a call that has begun is finished, so
            a kernel whose smallest call takes longer takes longer.
        workers: processes to predict for; more than one also measures the scheduler's overhead, on a local cluster (in a script,
            call this under `if __name__ == "__main__":`).
        device: where calls run; None for where the inputs are.
        threads: of torch in a worker, while measuring; None for as many as now.
        overhead: seconds of the scheduler a task, where known.
        client: a `distributed.Client` on whose cluster the overhead is measured instead; its workers must see `folder`.
        folder: where to write the files, on the disk that will hold the store; None for the temporary folder.

    Returns:
        An `Estimate`: print it, or ask it, e.g. `.hours(50_000, workers=64)`.

    Raises:
        UnsupportedError, TypeError, ValueError: as `tt.scale.compute`.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.measure import estimate
        >>> net = torch.nn.Sequential(tt.nn.Linear(8, 1), torch.nn.ReLU(), tt.nn.Linear(1, 1))
        >>> cost = estimate(net, torch.randn(200, 8), seconds=1.)
        >>> cost.tiles(100_000, tile=1000)
        5050
    """
    _check(seconds, workers, tile, overhead, threads)
    kernel = kernel_of(model_or_kernel_fn, as_kinds(kinds), as_backend(backend))
    data1, data2 = Data(x1, "x1"), None if x2 is None else Data(x2, "x2")
    dtype, _ = kernel.describe(data1, data2)
    counts = data1.count, (data2 or data1).count
    free = free_bytes(torch.device("cpu"))
    tile = tile or _side(kernel, data1, dtype.itemsize, free)
    where = device if device is not None else data1.device
    if device is not None:
        kernel.to(device)
    block = BLOCK if isinstance(kernel, Analytic) else _WHOLE
    with _threads(threads):
        calls, working = _calls(kernel, data1, data2, tile, 0.5 * seconds, where, dtype.itemsize)
        found = _fitted(calls, block)
        place = Path(folder or tempfile.gettempdir())
        file, byte = _files(place, min(tile, max(*counts, _SMALL_FILE)), dtype, 0.2 * seconds)
        costs = Costs(*found, file, byte, _reading(data1))
        largest = max(calls, key=lambda m: (not m.own, m.n1 * m.n2))
        overlap = _overlap(kernel, data1, data2, largest, costs, block, dtype, 0.2 * seconds, where, place)
    if overhead is None and (workers > 1 or client is not None):
        overhead = task_overhead(client, folder)
    pair, own = operations(kernel.model, data1.rows(slice(0, 2), where)) if isinstance(kernel, Analytic) else (None, None)
    return Estimate(
        n1=data1.count, n2=None if data2 is None else data2.count, kinds=kernel.kinds, tile=tile, dtype=dtype.name,
        itemsize=dtype.itemsize, row_bytes=data1.row_bytes, costs=costs, overlap=overlap, block=block,
        threads=threads or torch.get_num_threads(), working_bytes=working, free_bytes=free, measured=tuple(calls),
        workers=workers, overhead=overhead, operations=pair, own_operations=own,
    )  # fmt: skip


def task_overhead(client: Any = None, folder: str | os.PathLike[str] | None = None, tasks: int = 300) -> float:
    """Seconds that a task costs besides its work: `compute`'s own tasks, on a store whose tiles are all there already.

    Args:
        client: whose cluster to measure; None starts a `LocalCluster` of this machine.
        folder: that its workers see; None for the temporary folder.
        tasks: how many, roughly.
    """
    from .computing import compute

    side = int((2 * tasks) ** 0.5)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        x = torch.arange(1.0, side + 1)[:, None]
        with torch.no_grad():
            handle = compute(_line(), x, store=f"{place}/empty.zarr", kinds=("nngp",), tile=1, progress=False)
        job, places = handle._job, list(handle.store.grid.places())
        assert job is not None

        def timed(some: list) -> float:
            start = time.perf_counter()
            cluster.run_on(client, job, some, handle.store.record)
            return time.perf_counter() - start

        def rate() -> float:
            few = max(1, len(places) // 10)
            timed(places[:few])  # workers read the job, imports
            return max(1e-6, (timed(places) - timed(places[:few])) / (len(places) - few))

        if client is not None:
            return rate()
        with cluster.workers_here(min(4, max(2, os.cpu_count() or 1)), 1) as client:
            return rate()


def _calls(
    kernel: Analytic | Function, x1: Data, x2: Data | None, most: int, seconds: float, device: Any, itemsize: int
) -> tuple[list[Measured], int]:
    """Times of calls of several sizes, and the memory that the largest took beyond its inputs and results."""
    counts = x1.count, (x2 or x1).count
    begin, working = time.perf_counter(), 0

    def call(n1: int, n2: int, own: bool = False) -> Measured:
        nonlocal working
        with _peak() as peak:
            start = time.perf_counter()
            a = x1.rows(slice(0, n1), device)
            b = None if own else (x2 or x1).rows(slice(counts[1] - n2, counts[1]), device)
            for value in kernel(a, b).values():
                value.cpu().numpy()
            elapsed = time.perf_counter() - start
        result = n1 * n2 * itemsize * len(kernel.kinds) + (n1 + n2) * x1.row_bytes
        working = max(working, peak() - result)
        return Measured(n1, n2, own, elapsed)

    ladder = [(min(counts[0], most, a), min(counts[1], most, b)) for a, b in _ladder(most)]
    ladder = list(dict.fromkeys(ladder))
    call(*ladder[0])  # tables, threads, first use of everything
    begin, top = time.perf_counter(), ladder[0]
    for size in ladder:
        top = size
        took = call(*size).seconds
        larger = ladder[min(len(ladder) - 1, ladder.index(size) + 1)]
        if took * larger[0] * larger[1] / (size[0] * size[1]) > seconds / _SHARE:
            break
    found: list[Measured] = []
    shapes = list(_shapes_below(top, x2 is None))
    for turn in range(_ROUNDS):
        for shape in shapes:
            if turn and time.perf_counter() - begin > seconds:
                return found, working
            found.append(call(*shape))
    return found, working


def _ladder(most: int) -> Iterator[tuple[int, int]]:
    for rows in (1, 4):
        yield rows, _LANES
    side = _LANES
    while side < most:
        yield side, side
        side *= 2
    yield most, most


def _shapes_below(top: tuple[int, int], symmetric: bool) -> Iterator[tuple[int, int, bool]]:
    """Sizes that tell a call, an input and a pair apart: the largest, flat ones, halves, and the diagonal."""
    n1, n2 = top
    shapes = [(n1, n2, False), (-(-n1 // 2), n2, False), (-(-n1 // 8), n2, False), (-(-n1 // 2), -(-n2 // 2), False)]
    if symmetric:
        shapes += [(n1, n1, True), (-(-n1 // 2), -(-n1 // 2), True)]
    yield from dict.fromkeys(shapes)


def _fitted(calls: list[Measured], block: int) -> tuple[float, float, float, float]:
    """Costs of a call, an input, a pair and a pair on the diagonal."""
    call, each, pair, own = _least([work(m.n1, m.n2, m.own, block) for m in calls], [m.seconds for m in calls], np.median)
    return call, each, pair, own if any(m.own for m in calls) else pair


def _least(features: Sequence[Sequence[int]], times: list[float], typical: Callable = np.mean) -> list[float]:
    """Non-negative costs of features, by least squares of relative errors of the typical time of equal calls.

    That comes first, because relative errors of single times would lean to the fast ones. Of calls it is the median; of files,
    which a disk now and then holds up for long, the mean, because a sum of many is what is predicted.
    """
    from scipy.optimize import nnls

    groups: dict[tuple, list[float]] = {}
    for row, seconds in zip(features, times, strict=True):
        groups.setdefault(tuple(row), []).append(seconds)
    mean = np.array([typical(g) for g in groups.values()])
    rows = np.array(list(groups), float)
    scale, mean = np.maximum(rows.max(0), 1.0), np.maximum(mean, 1e-9)  # seconds: a clock may not see less
    return [float(c) for c in nnls(rows / scale / mean[:, None], np.ones(len(mean)))[0] / scale]


def _files(folder: Path, tile: int, dtype: np.dtype, seconds: float) -> tuple[float, float]:
    """Seconds of one file of a tile, and of each of its bytes; small and whole tiles, plain and turned ones."""
    times: list[float] = []
    sizes: list[tuple[int, int]] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as place:
        turn = 0
        while turn <= _FILES or (sum(size for _, size in sizes) < _WRITTEN and time.perf_counter() - begin < seconds):
            for side in dict.fromkeys((max(1, tile // 8), tile)):
                values, path = np.ones((side, side), dtype), Path(place, uuid.uuid4().hex)
                start = time.perf_counter()
                write_chunk(path, values.T if turn % 2 else values, side, Path(place))
                if turn:  # the first is warm-up
                    times.append(time.perf_counter() - start)
                    sizes.append((1, chunk_bytes(side, dtype)))
                path.unlink()
            turn += 1
            if turn > 1 and time.perf_counter() - begin > 2 * seconds:
                break
    fixed, byte = _least(sizes, times)
    return fixed, byte


def _overlap(
    kernel: Analytic | Function, x1: Data, x2: Data | None, size: Measured, costs: Costs, block: int, dtype: np.dtype,
    seconds: float, device: Any, folder: Path,
) -> float:  # fmt: skip
    """How much of the smaller of computing and writing is hidden when one thread writes what another computes.

    As in `local.run_here`, on a few tiles. 1 is all, 0 is none, and below that they hold each other up (memory, cores).
    """
    files = len(kernel.kinds) * (2 if x2 is None else 1)
    side = max(size.n1, size.n2)
    call = call_seconds(costs, work(size.n1, size.n2, size.own, block))
    write = files * (costs.file + costs.byte * chunk_bytes(side, dtype))
    count = min(_PIPED, int(seconds / _TRIALS / max(call + write, 1e-9)))
    if count < 2 or min(call, write) < _FAINT * max(call, write):
        return 1.0
    values = np.ones((side, side), dtype)

    def store(place: str, k: int) -> None:
        for f in range(files):
            write_chunk(Path(place, f"{k}-{f}"), values.T if f % 2 else values, side, Path(place))

    def trial() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as place, ThreadPoolExecutor(1) as writer:
            start, waiting = time.perf_counter(), []
            for k in range(count):
                a = x1.rows(slice(0, size.n1), device)
                b = None if size.own else (x2 or x1).rows(slice((x2 or x1).count - size.n2, None), device)
                for value in kernel(a, b).values():
                    value.cpu().numpy()
                waiting.append(writer.submit(store, place, k))
                if k >= _WAITING:
                    waiting[k - _WAITING].result()
            for done in waiting:
                done.result()
            return time.perf_counter() - start

    apart = count * (call + write)
    best = max(count * call + write, count * write + call)
    took = float(np.median([trial() for _ in range(_TRIALS)]))
    return min(1.0, max(-1.0, (apart - took) / (apart - best)))


def _reading(x: Data) -> float:
    """Seconds to read, check and hash a byte of the inputs."""
    rows = slice(0, max(1, min(x.count, _SAMPLE // max(1, x.row_bytes))))
    some = x.rows(rows)
    part = Data(some if x.single else tuple(some), x.name)
    start = time.perf_counter()
    part.digest()
    return (time.perf_counter() - start) / max(1, rows.stop * x.row_bytes)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _peak() -> Iterator[Callable[[], int]]:
    """The most memory that this process took in the block, beyond what it had before."""
    import psutil

    process, stop = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.01):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: most - before
    finally:
        stop.set()
        thread.join()
        most = max(most, process.memory_info().rss)


def _line() -> torch.nn.Module:
    from ..nn.linear import Linear

    return Linear(1, 1)


def _check(seconds: Any, workers: Any, tile: Any, overhead: Any, threads: Any) -> None:
    for name, value in (("seconds", seconds), ("overhead", overhead)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf")):
            raise ValueError(f"{name}: expected a positive number of seconds, got {value!r}.")
    for name, value, what in (("workers", workers, "processes"), ("tile", tile, "inputs"), ("threads", threads, "threads")):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}: expected a positive number of {what}, got {value!r}.")
