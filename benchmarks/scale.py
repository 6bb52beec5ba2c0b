"""`python -m benchmarks.scale [--only NAME] [--quick]`: kernels in a store, on one machine and on a cluster that loses its parts.

Each run states what it promises and whether it was kept; numbers go to results/scale.json, run by run. Random inputs; NTK in
float32. `full-disk` mounts a tmpfs and needs root.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch

import torchtangents as tt

from . import machine
from .architectures import FLATTEN, cnn, fully_connected
from .networks import build

RESULTS = Path(__file__).parent / "results" / "scale.json"
QUIET: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
IMAGE, VECTOR = (3, 32, 32), (784,)
GIGABYTE = 1e9
CLIENT = """
import sys
from distributed import Client
from benchmarks.scale import convolutional, compute
if __name__ == "__main__":
    with Client(scheduler_file=sys.argv[1], timeout=60) as client:
        compute(*convolutional(int(sys.argv[2])), sys.argv[3], tile=int(sys.argv[4]), client=client)
"""


def convolutional(n: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """The 21-layer network with a Flatten read-out, and inputs."""
    x = torch.randn(n, *IMAGE, generator=torch.Generator().manual_seed(0))
    return build(cnn(21, FLATTEN), IMAGE), x


def shallow(n: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """Three hidden layers, and inputs."""
    x = torch.randn(n, *VECTOR, generator=torch.Generator().manual_seed(0))
    return build(fully_connected(3), VECTOR), x


def compute(net: torch.nn.Module, x: torch.Tensor, store: Any, **options: Any) -> Any:
    """The NTK of x with itself into a store."""
    return tt.scale.compute(net, x, store=store, kinds=("ntk",), progress=False, **options)


def big(folder: Path, quick: bool) -> dict[str, Any]:
    """FC-3 NTK of 20,000 inputs, stored and solved: memory beyond the inputs, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(_big, str(folder / "k.zarr"), 3000 if quick else 20_000).result()
    kept = found["gigabytes_beyond_inputs"] < 2 and found["largest_residual"] < 1e-10
    return {**found, "promise": "computed under 2 GB beyond the inputs, and solved", "kept": kept}


def _big(store: str, n: int) -> dict[str, Any]:
    net, x = shallow(n)
    compute(net, x[:64], store + "-first")  # what importing and compiling take is not the kernel's
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    handle = compute(net, x, store)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    damaged = handle.verify(progress=False)
    verified = time.perf_counter()
    y = torch.randn(n, 10, generator=torch.Generator().manual_seed(1))
    solution = tt.scale.solve(handle, y, diag_reg=1e-3, progress=False)
    return {
        "inputs": n, "tile": handle.tile, "seconds": seconds, "gigabytes_beyond_inputs": (peak - before) / GIGABYTE,
        "gigabytes_peak": peak / GIGABYTE, "gigabytes_stored": sum(r["bytes"] for r in handle.records) / GIGABYTE,
        "tile_seconds": sum(r["seconds"] for r in handle.records),
        "write_seconds": sum(r["write_seconds"] for r in handle.records),
        "verify_seconds": verified - start, "damaged": len(damaged),
        "solve_method": solution.method, "solve_seconds": time.perf_counter() - verified,
        "largest_residual": solution.residuals.max().item(),
        "solve_gigabytes_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE,
    }  # fmt: skip


def processes(folder: Path, quick: bool) -> dict[str, Any]:
    """CNN-21 Flatten of 5,000 inputs by two processes: wall time against the sum of tile times."""
    count = 2
    net, x = convolutional(300 if quick else 5000)
    start = time.perf_counter()
    handle = compute(net, x, folder / "k.zarr", processes=count, **({"tile": 32} if quick else {}))
    whole = time.perf_counter() - start
    span, tiles = _span(handle.records)
    ratio = span / (tiles / count)
    return {
        "inputs": len(x), "tile": handle.tile, "processes": count, "tiles": len(handle.records), "tile_seconds": tiles,
        "seconds_without_start": span, "seconds": whole, "ratio": ratio,
        "promise": "at most 1.3 x (sum of tile times) / processes, start-up excluded", "kept": ratio <= 1.3,
    }  # fmt: skip


def threads(folder: Path, quick: bool) -> dict[str, Any]:
    """The same network in this process, by torch's threads, and by processes: which is faster, start-up excluded."""
    net, x = convolutional(200 if quick else 1500)
    found: dict[str, Any] = {"inputs": len(x), "threads": torch.get_num_threads()}
    for name, options in (("threads", {}), ("processes", {"processes": torch.get_num_threads()})):
        handle = compute(net, x, folder / name, tile=32 if quick else 128, **options)
        found[f"seconds_{name}"] = _span(handle.records)[0]
    return {**found, "promise": "one result", "kept": _alike(folder / "threads", folder / "processes")}


def workers(folder: Path, quick: bool) -> dict[str, Any]:
    """A cluster of four workers, one of which is killed every ten seconds."""
    from distributed import Client, LocalCluster

    net, x = convolutional(200 if quick else 2500)
    tile, pause = (16, 3.0) if quick else (128, 10.0)
    start = time.perf_counter()
    compute(net, x, folder / "undisturbed", tile=tile)
    undisturbed = time.perf_counter() - start
    stop, killed = threading.Event(), []
    with LocalCluster(n_workers=4, threads_per_worker=1, **QUIET) as cluster, Client(cluster) as client:
        client.wait_for_workers(4)

        def kill() -> None:
            while not stop.wait(pause):
                alive = [n.process.pid for n in cluster.workers.values() if n.process is not None and n.process.pid is not None]
                if alive:
                    killed.append(random.choice(alive))
                    os.kill(killed[-1], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        start = time.perf_counter()
        handle = compute(net, x, folder / "disturbed", tile=tile, client=client)
        seconds = time.perf_counter() - start
        stop.set()
        killer.join()
    kept = bool(killed or quick) and _alike(folder / "undisturbed", folder / "disturbed") and not handle.verify(progress=False)
    return {
        "inputs": len(x), "tile": tile, "workers": 4, "kill_every_seconds": pause, "killed": len(killed), "seconds": seconds,
        "seconds_undisturbed": undisturbed, "promise": "equals the undisturbed result bit for bit", "kept": kept,
    }  # fmt: skip


def scheduler(folder: Path, quick: bool) -> dict[str, Any]:
    """Scheduler and client are killed in the middle; the call is made again on a new cluster."""
    n, tile = (200, 16) if quick else (1000, 64)
    store = folder / "k.zarr"
    with _deployed(folder) as (parts, start_client):
        client = start_client(n, store, tile)
        while not (store / "zarr.json").exists() or tt.scale.open(store).progress < 0.4:
            if client.poll() is not None:
                raise RuntimeError("the client ended before it was killed")
            time.sleep(0.1)
        for process in (parts[0], client):  # the scheduler, then the client
            process.kill()
            process.wait()
    handle = tt.scale.open(store)
    missing, recorded = set(handle.store.missing()), len(handle.records)
    with _deployed(folder) as (_, start_client):
        start_client(n, store, tile).wait()
    again = [tuple(r["tile"]) for r in handle.records[recorded:] if not r.get("found")]
    return {
        "inputs": n, "tile": tile, "tiles": handle.store.grid.count, "missing_after_kill": len(missing),
        "computed_then": len(again), "promise": "no finished tile is computed again",
        "kept": set(again) == missing and len(again) == len(missing) and handle.complete,
    }  # fmt: skip


@contextmanager
def _deployed(folder: Path):
    """A scheduler and two workers as processes, and what starts a client."""
    file, running = folder / "scheduler.json", []
    file.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": f"{machine.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    def start(*command: str) -> subprocess.Popen:
        running.append(subprocess.Popen([sys.executable, *command], stderr=subprocess.DEVNULL, env=env))
        return running[-1]

    def start_client(n: int, store: Path, tile: int) -> subprocess.Popen:
        (folder / "client.py").write_text(CLIENT)
        return start(str(folder / "client.py"), str(file), str(n), str(store), str(tile))

    try:
        parts = [start("-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))]
        for _ in range(2):
            parts.append(
                start(
                    "-m",
                    "distributed.cli.dask_worker",
                    "--scheduler-file",
                    str(file),
                    "--nthreads",
                    "1",
                    "--no-dashboard",
                    "--no-nanny",
                )
            )
        yield parts, start_client
    finally:
        for process in running:
            process.kill()
            process.wait()


def flipped(folder: Path, quick: bool) -> dict[str, Any]:
    """One byte is changed in each of twenty random tiles."""
    net, x = shallow(1000 if quick else 10_000)
    handle = compute(net, x, folder / "k.zarr", tile=100 if quick else 1024)
    shutil.copytree(handle.path, folder / "whole")
    rng = random.Random(0)
    places = sorted(rng.sample(list(handle.store.grid.places()), 20))
    for place in places:
        i, j = rng.choice(handle.store.grid.stored(place))
        path = handle.path / "ntk" / "c" / str(i) / str(j)
        with open(path, "r+b") as file:
            at = rng.randrange(path.stat().st_size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ rng.randrange(1, 256)]))
    found = [d.tile for d in handle.verify(repair=True, progress=False)]
    kept = found == places and not handle.verify(progress=False) and _alike(folder / "k.zarr", folder / "whole")
    return {
        "inputs": len(x), "tile": handle.tile, "tiles": handle.store.grid.count, "found": len(found),
        "promise": "all 20 are found and repaired", "kept": kept,
    }  # fmt: skip


def full_disk(folder: Path, quick: bool) -> dict[str, Any]:
    """A disk (a small tmpfs) that is too small at first, then filled while the kernel is computed."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True)
    try:
        net, x = shallow(3000)  # 36 MB
        said = [_refused(lambda: compute(*shallow(5000), disk / "too-big", tile=250))]
        shutil.rmtree(disk / "too-big")
        store, ballast = disk / "k.zarr", disk / "ballast"
        filler = threading.Thread(target=_fill, args=(store, ballast))
        filler.start()
        said.append(_refused(lambda: compute(net, x, store, tile=125)))
        filler.join()
        part = tt.scale.open(store)
        done, recorded = part.progress, len(part.records)
        ballast.unlink()
        missing = set(part.store.missing())
        handle = compute(net, x, store)
        again = {tuple(r["tile"]) for r in handle.records[recorded:]}
        kept = all("Make space" in s for s in said) and 0 < done < 1 and again == missing and not handle.verify(progress=False)
        return {
            "inputs": len(x), "tile": 125, "said": [s.replace(str(folder), "") for s in said], "computed_when_full": done,
            "promise": "a clear error, and the call again succeeds", "kept": kept,
        }  # fmt: skip
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fill(store: Path, ballast: Path) -> None:
    """Once a third is computed, take what space is left."""
    while not (store / "zarr.json").exists() or tt.scale.open(store).progress < 0.3:
        time.sleep(0.01)
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass


def _refused(call: Callable[[], Any]) -> str:
    try:
        call()
    except OSError as error:
        return str(error)
    return "no error"


def _span(records: list[dict[str, Any]]) -> tuple[float, float]:
    """From the first tile's start to the last one's end, and the sum of the tiles' times."""
    start = min(r["time"] - r["seconds"] - r["write_seconds"] for r in records)
    return max(r["time"] for r in records) - start, sum(r["seconds"] for r in records)


def _alike(first: Path, second: Path) -> bool:
    """Whether two stores hold the same numbers, bit for bit."""
    one, two = tt.scale.open(first), tt.scale.open(second)
    places = ((i, j) for i, j in one.store.grid.places())
    return one.shape == two.shape and all((one.ntk[r, c] == two.ntk[r, c]).all() for r, c in map(one.store.grid.slices, places))


RUNS: dict[str, Callable[[Path, bool], dict[str, Any]]] = {
    "fc3": big, "cnn21": processes, "threads": threads, "killed-workers": workers, "killed-scheduler": scheduler,
    "flipped-bytes": flipped, "full-disk": full_disk,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--only", choices=RUNS, action="append", help="this run; may be given again")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it works; writes nothing unless --out is given"
    )
    parser.add_argument("--out", type=Path, help=f"JSON; {RESULTS} where nothing is given")
    parser.add_argument("--folder", type=Path, help="where stores are written; a temporary folder where nothing is given")
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else RESULTS)
    broken = []
    for name in options.only or RUNS:
        folder = Path(tempfile.mkdtemp(prefix=f"scale-{name}-", dir=options.folder))
        try:
            found = {"machine": machine.describe(), "quick": options.quick, **RUNS[name](folder, options.quick)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(name, json.dumps({k: v for k, v in found.items() if k != "machine"}), flush=True)
        broken += [] if found["kept"] else [name]
        if out is not None:
            held = json.loads(out.read_text()) if out.exists() else {}
            out.write_text(json.dumps({**held, name: found}, indent=1) + "\n")
    sys.exit(f"not kept: {', '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
