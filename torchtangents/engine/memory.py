"""How much memory a tile takes, and how much there is."""

from __future__ import annotations

import math
import os

import torch

from .needs import Needs

_MOST = {"cpu": 1 << 30, "cuda": 1 << 34}  # bytes of a tile, however much memory is free
_WORK = {"cpu": 1 << 20, "cuda": 1 << 27}  # values of one step in flight; more does not run faster
_CHUNK = {"cpu": 1 << 19, "cuda": 1 << 24}  # of them computed at a time: what a cache holds, or what fills a GPU
_TEMPORARIES = 12  # tensors alive at once inside one step


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 << 30


def pair_bytes(needs: Needs, ntk: bool, dtype: torch.dtype) -> tuple[int, int]:
    """The most bytes alive at once for one pair, and the most values that one step computes at a time."""
    runs = needs.runs
    index = {node: i for i, node in enumerate(needs.steps1)}
    last = {source: k for k, run in enumerate(runs) for source in run.sources}
    alive: dict = {}
    most, widest = 0, 1
    for k, run in enumerate(runs):
        grid = needs.grid(index[run.target])
        parts = 1 + ntk + needs.distance[run.target]
        alive[run.target] = grid.entries * parts
        inside = max(needs.grid(index[s]).entries for s in (*run.steps, *run.sources))
        chunk = inside if not run.local or not grid.n else math.ceil(inside / len(grid.planes[0]))
        widest = max(widest, chunk)
        most = max(most, sum(alive.values()) * (2 if not run.local else 1) + chunk * _TEMPORARIES)
        for source in run.sources:
            if last[source] == k:
                alive.pop(source, None)
    return most * dtype.itemsize, widest


def budget(device: torch.device, most: int | None = None) -> int:
    """Bytes that one tile may take: a quarter of what is free, `most` at most."""
    return max(1 << 24, min(free_bytes(device) // 4, most or _MOST.get(device.type, _MOST["cpu"])))


def chunk(device: torch.device) -> int:
    """Values of one step that the reference computes at a time."""
    if device.type != "cuda":
        return _CHUNK["cpu"]
    return max(_CHUNK["cpu"], min(_CHUNK["cuda"], budget(device) // (4 * _TEMPORARIES * 8)))


def rows_that_fit(sizes: tuple[int, int], device: torch.device) -> int:
    """How many pairs to compute at once."""
    most, widest = sizes
    return max(1, min(budget(device) // max(most, 1), _WORK.get(device.type, _WORK["cpu"]) // widest))
