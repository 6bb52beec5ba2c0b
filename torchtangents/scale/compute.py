"""`tt.scale.compute` and `tt.scale.open`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from . import cluster
from .arguments import as_backend, as_kinds, as_path, check_attributes, check_where
from .grid import Place
from .handle import Handle
from .inputs import Data
from .job import Job
from .local import run_here
from .manifest import Manifest
from .plan import asked_for, require_same, require_space, to_compute
from .store import Store
from .watch import Watch
from .work import KINDS, kernel_of


def open(store: str | os.PathLike[str]) -> Handle:
    """A stored kernel, complete or not.

    Args:
        store: the folder.

    Raises:
        FileNotFoundError, ValueError: there is none.

    Example:
        >>> import tempfile, torch, torchtangents as tt
        >>> path = tempfile.mkdtemp() + "/k.zarr"
        >>> _ = tt.scale.compute(tt.nn.Linear(3, 1), torch.randn(5, 3), store=path, progress=False)
        >>> tt.scale.open(path).shape
        (5, 5)
    """
    return Handle(Store.open(as_path(store)))


def compute(
    model_or_kernel_fn: Any, x1: Any, x2: Any = None, store: str | os.PathLike[str] = "k.zarr",
    kinds: Sequence[str] = KINDS, client: Any = None, devices: Any = None, tile: int | None = None,
    progress: bool | None = None, backend: str = "auto", attributes: dict[str, Any] | None = None,
    *, append: bool = False, processes: int | None = None,
) -> Handle:  # fmt: skip
    """Compute a kernel of any size into a store on disk, or continue one.

    Args:
        model_or_kernel_fn: a module, whose kernels in closed form are computed, or a function f(x1, x2) that returns a tensor,
            or a named tuple or dict with nngp and ntk, e.g. `functools.partial(tt.empirical.kernels, model)`. On the diagonal of
            a symmetric kernel f(x) is called where its second argument has the default None, f(x, x) otherwise.
        x1: inputs (N1, ..): a tensor, a numpy array or memmap, a zarr array, or a tuple of them for forward's arguments. They
            are read by slices.
        x2: inputs (N2, ..) of the same kind; None means x1, and skips what lies below the diagonal.
        store: a folder; where it holds this kernel already, what is missing or damaged is computed.
        kinds: which kernels.
        tile: inputs on a side of a tile; None chooses one that takes some seconds, or that of the store.
        progress: as in `tt.ntk`.
        backend: as in `tt.ntk`.
        attributes: a dictionary that JSON can hold, kept in the store.
        append: x1 (or x2) may be longer than what is stored: where the first inputs are the same, only the new rows and columns
            are computed, and the tiles that the old edge cut off.

    Returns:
        A `Handle`.

    Raises:
        ValueError: the store holds a kernel of another model, other inputs or another dtype: the message names the difference.
        OSError: the disk is full; call again when there is space.
        BlockingIOError: another process is computing into the store.

    Example:
        >>> import tempfile, torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 64), torch.nn.ReLU(), tt.nn.Linear(64, 1))
        >>> k = tt.scale.compute(net, torch.randn(100, 3), store=tempfile.mkdtemp() + "/k.zarr", progress=False)
        >>> k.ntk.shape, k.complete, k.torch(slice(0, 2), slice(0, 3)).shape
        ((100, 100), True, torch.Size([2, 3]))
    """
    root = as_path(store)
    check_where(client, devices, processes)
    check_attributes(attributes)
    kernel = kernel_of(model_or_kernel_fn, as_kinds(kinds), as_backend(backend))
    data1, data2 = Data(x1, "x1"), None if x2 is None else Data(x2, "x2")
    there = root.exists() and any(root.iterdir())
    asked, first = asked_for(kernel, data1, data2, tile, Manifest.read(root) if there else None, attributes)
    held = Store.open(root) if there else Store.create(root, asked)
    job = Job(kernel, data1, data2, held)
    with held.locked():
        held.manifest = Manifest.read(root)  # as it is now that no one else changes it
        require_same(held, asked, first, append)
        places = to_compute(held, progress)
        if places:
            require_space(held, places, progress)
            with Watch(held, len(places), progress) as watch:
                _run(job, places, watch.done, client, devices, processes)
    return Handle(held, job)


def _run(
    job: Job, places: list[Place], done: Callable[[dict[str, Any]], None], client: Any, devices: Any, processes: int | None
) -> None:
    """Where the tiles are computed: on a cluster, in processes of this machine, or here."""
    if devices is None and (client is not None or processes is not None):
        devices = job.x1.device
    if client is not None:
        job.device = devices
        cluster.run_on(client, job, places, done)
    elif processes is not None or isinstance(devices, (list, tuple)):
        named = [devices] if isinstance(devices, (str, torch.device)) else devices
        job.device = None if named is None else [str(d) for d in named]
        count = min(processes or len(job.device), len(places))
        job.threads = max(1, _cores() // count)
        with cluster.workers_here(count, job.threads) as workers:
            cluster.run_on(workers, job, places, done)
    else:
        if devices is not None:
            job.device = devices
            job.kernel.to(devices)
        run_here(job, places, done)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
