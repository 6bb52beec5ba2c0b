"""`python -m benchmarks.cost`: what `tt.scale.estimate` predicts against what `tt.scale.compute` takes.

Each case is measured for at most a minute, then computed whole, into a store beside `--folder`; prediction and run alternate
with nothing between them. Reported: seconds in all, in calls of the kernel and in writing files, peak memory, and the ratio of
prediction and run; a case passes within 30 %. The last case predicts larger images from smaller ones by `Estimate.scaled`, and
passes within a factor of two. The command fails where a case does not pass. An idle machine is needed, and its disk.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import torchtangents as tt
from torchtangents.scale.cost import Estimate
from torchtangents.scale.measure import _peak, estimate, task_overhead

from . import machine

RESULTS = Path(__file__).parent / "results" / "cost.json"
WITHIN, SCALED_WITHIN = 1.3, 2.0


class Case(NamedTuple):
    """A network and its inputs; `small`, for a prediction from smaller images."""

    name: str
    net: Callable[[tuple[int, ...]], nn.Module]
    count: int
    shape: tuple[int, ...]
    small: tuple[int, ...] | None = None


def fully_connected(shape: tuple[int, ...]) -> nn.Module:
    """FC-3 with ReLU."""
    layers = [layer for k in range(3) for layer in (tt.nn.Linear(8 if k else shape[0], 8, w_std=2**0.5), nn.ReLU())]
    return nn.Sequential(*layers, tt.nn.Linear(8, 1))


def convolutional(shape: tuple[int, ...]) -> nn.Module:
    """Five 3x3 convolutions with ReLU, Flatten, Linear."""
    channels, *sides = shape
    law = {"padding": 1, "w_std": 2**0.5}
    layers = [layer for k in range(5) for layer in (tt.nn.Conv2d(8 if k else channels, 8, 3, **law), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), tt.nn.Linear(8 * sides[0] * sides[1], 1))


def cases(quick: bool) -> list[Case]:
    """At full size, or to try the harness."""
    n, m = (800, 150) if quick else (8000, 1500)
    image, small = ((3, 16, 16), (3, 8, 8)) if quick else ((3, 32, 32), (3, 16, 16))
    return [
        Case("FC-3", fully_connected, n, (3072,)),
        Case("CNN-5 Flatten", convolutional, m, image),
        Case(f"CNN-5 Flatten, predicted from {small[1]}x{small[2]}", convolutional, m, image, small),
    ]


def predicted(case: Case, seconds: float, folder: Path) -> tuple[Estimate, float]:
    """The estimate, and how long it took."""
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(0)
    shape = case.small or case.shape
    found = estimate(case.net(shape), torch.randn(case.count, *shape, generator=generator), seconds=seconds, folder=folder)
    if case.small:
        found = found.scaled(case.net(case.shape), (2, *case.shape))
    return found, time.perf_counter() - start


def run(case: Case, tile: int, folder: Path) -> dict[str, float]:
    """The whole kernel, computed into a store that is deleted."""
    x = torch.randn(case.count, *case.shape, generator=torch.Generator().manual_seed(0))
    net = case.net(case.shape)
    gc.collect()
    with tempfile.TemporaryDirectory(dir=folder) as place, _peak() as peak:
        start = time.perf_counter()
        handle = tt.scale.compute(net, x, store=Path(place, "k.zarr"), tile=tile, progress=False)
        seconds = time.perf_counter() - start
        records = handle.records
        return {
            "seconds": seconds, "compute_seconds": sum(r["seconds"] for r in records),
            "write_seconds": sum(r["write_seconds"] for r in records), "memory_bytes": peak(),
            "store_bytes": sum(r["bytes"] for r in records), "tiles": len(records),
        }  # fmt: skip


def compare(case: Case, seconds: float, folder: Path) -> dict[str, Any]:
    """Prediction and run."""
    found, took = predicted(case, seconds, folder)
    real = run(case, min(found.tile, case.count), folder)
    ours = {
        name: getattr(found, name)()
        for name in ("seconds", "compute_seconds", "write_seconds", "memory_bytes", "store_bytes", "tiles")
    }
    ratio = ours["seconds"] / real["seconds"]
    within = SCALED_WITHIN if case.small else WITHIN
    what = "compute_seconds" if case.small else "seconds"
    judged = ours[what] / real[what]
    return {
        "case": case.name, "inputs": case.count, "shape": case.shape, "tile": found.tile, "measured_seconds": took,
        "fit_error": found.error, "costs": found.costs._asdict(), "predicted": ours, "real": real, "ratio": ratio,
        "judged": what, "within": within, "passes": 1 / within <= judged <= within, "table": repr(found),
    }  # fmt: skip


def row(record: dict[str, Any]) -> str:
    """One line of the table."""
    p, r = record["predicted"], record["real"]
    cells = [f"{record['case']:44}"]
    for name, scale in (("seconds", 1), ("compute_seconds", 1), ("write_seconds", 1), ("memory_bytes", 1e6)):
        cells.append(f"{p[name] / scale:8.2f} / {r[name] / scale:8.2f}")
    return "  ".join([*cells, "passes" if record["passes"] else "FAILS"])


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, help="to measure at most (default 60; 5 with --quick)")
    options.add_argument("--quick", action="store_true", help="small kernels, to try the harness")
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to write to (%(default)s)")
    options.add_argument("--out", type=Path, help="JSON (default: benchmarks/results/cost.json; none with --quick)")
    given = options.parse_args(arguments)
    about, records = machine.describe(), []
    print(f"{'predicted / run':44}  {'seconds':>19}  {'in calls':>19}  {'writing':>19}  {'memory, MB':>19}")
    for case in cases(given.quick):
        records.append(compare(case, given.seconds or (5.0 if given.quick else 60.0), given.folder))
        print(row(records[-1]), flush=True)
    overhead = task_overhead(tasks=60 if given.quick else 1000)
    print(f"the scheduler takes {overhead * 1e3:.2f} ms a task on a local cluster")
    whole = {"machine": about, "torch_threads": torch.get_num_threads(), "overhead_seconds": overhead, "results": records}
    out = given.out or (None if given.quick else RESULTS)
    if out:
        out.write_text(json.dumps(whole, indent=1) + "\n")
    return int(not given.quick and not all(record["passes"] for record in records))


if __name__ == "__main__":
    sys.exit(main())
