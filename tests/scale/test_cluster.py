"""Tiles as tasks of dask: the numbers of one process, whatever happens to workers, scheduler and client."""

import errno
import functools
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

import torchtangents as tt
from tests.scale.conftest import convolutional, finite, fully_connected, tiles
from torchtangents.scale import cluster
from torchtangents.scale.inputs import Data
from torchtangents.scale.job import Job
from torchtangents.scale.work import kernel_of

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

QUIET = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}


@pytest.fixture(scope="module")
def client():
    """Two workers of two threads, in this process, so that they start at once."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=False, **QUIET) as local,
        distributed.Client(local) as c,
    ):
        yield c


CASES = {
    "fc": (fully_connected, lambda: torch.randn(30, 5), ("nngp", "ntk")),
    "conv": (convolutional, lambda: torch.randn(30, 2, 6, 6), ("ntk",)),
    "empirical": (lambda: functools.partial(tt.empirical.kernels, finite()), lambda: torch.randn(30, 5), ("nngp", "ntk")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_one_process(compute, tmp_path, client, name):
    make, draw, kinds = CASES[name]
    model, x = make(), draw()
    there = compute(model, x, tile=8, kinds=kinds, client=client)
    here = compute(model, x, tile=8, kinds=kinds, store=tmp_path / "here")
    assert sorted(tiles(there)) == tiles(here)
    assert there.verify() == []
    for kind in kinds:
        assert torch.equal(there.torch(kind=kind), here.torch(kind=kind))
    assert sorted(os.listdir(there.store.side)) == ["lock", "records.jsonl"]


def test_two_sets_from_files(compute, tmp_path, client):
    net, x = fully_connected(), np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    handle = compute(net, mapped[:20], mapped[20:], tile=8, client=client)
    torch.testing.assert_close(handle.torch(), tt.ntk(net, torch.from_numpy(x[:20]), torch.from_numpy(x[20:])))


def test_few_tasks_at_a_time(compute, client):
    most = []

    class Counting:
        def __getattr__(self, name):
            return getattr(client, name)

        def submit(self, *args, **kwargs):
            most.append(len(client.futures))
            return client.submit(*args, **kwargs)

    compute(lambda x1, x2: x1 @ x2.T, torch.randn(20, 5), tile=1, kinds="ntk", client=Counting())
    assert len(most) == 210
    assert max(most) <= 4 * (1 + cluster._AHEAD)


def test_an_error_stops_it(compute, client, tmp_path):
    x = torch.randn(20, 5)

    def odd(x1, x2=None):
        if len(x1) == 4:
            raise ArithmeticError("odd")
        return x1 @ (x1 if x2 is None else x2).T

    with pytest.raises(ArithmeticError, match="odd"):
        compute(odd, x, tile=16, kinds="ntk", client=client)
    handle = tt.scale.open(tmp_path / "k.zarr")
    assert (1, 1) in handle.store.missing()
    assert not list(handle.store.side.glob("job-*"))


def test_a_full_disk(compute, client, monkeypatch):
    real, calls = os.fsync, []

    def full(file):
        calls.append(1)
        if len(calls) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    net, x = fully_connected(), torch.randn(20, 5)
    monkeypatch.setattr("torchtangents.scale.chunks.os.fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        compute(net, x, tile=4, client=client)
    monkeypatch.undo()
    assert compute(net, x, client=client).verify() == []


def test_a_tile_that_is_there_is_not_computed_again(compute, client, tmp_path):
    """dask runs a task twice where it lost the first result with its worker."""
    handle = compute(fully_connected(), torch.randn(20, 5), tile=8)
    path = handle._job.send()
    record = cluster.compute_tile(str(path), (0, 1))
    assert record == {"tile": [0, 1], "seconds": 0.0, "found": True}
    handle.store.discard((0, 1))
    assert cluster.compute_tile(str(path), (0, 1))["bytes"] > 0
    handle.store.discard((0, 1))
    finish = cluster._loaded(str(path), 0).begin((0, 1))
    path.unlink()
    with pytest.raises(RuntimeError, match="no one waits"):
        finish()


def test_what_a_task_asks_for():
    class Client:
        def scheduler_info(self):
            return {"workers": {"a": {"resources": {"GPU": 2, "memory": 1e9}}, "b": {"resources": {"disk": 1}}}}

    class Store:
        manifest = type("M", (), {"tile": 10, "numpy_dtype": np.dtype("float32")})

    kernel = kernel_of(fully_connected(), ("ntk",), "auto")
    asked = cluster._resources(Client(), Job(kernel, Data(torch.zeros(20, 5), "x1"), None, Store()))
    assert asked == {"GPU": 1.0, "memory": 10 * (2 * 20 + 6 * 4 * 10)}


@pytest.mark.parametrize(("seen", "error", "words"), [
    (("node7", False, {"torchtangents": "1"}), FileNotFoundError, "tcp://b on node7 cannot see the store at .*; expected a folder"),
    (("node7", True, {"torchtangents": "0.0.1"}), RuntimeError, "runs torchtangents 0.0.1, this process .*; expected one version"),
])  # fmt: skip
def test_workers_that_do_not_fit(tmp_path, seen, error, words):
    class Client:
        def run(self, look, path, on_error):
            return {"tcp://dead": OSError("it died"), "tcp://a": look(path), "tcp://b": seen}

    (tmp_path / "job.pkl").touch()
    with pytest.raises(error, match=words):
        cluster._require_fit(Client(), tmp_path / "job.pkl")


def slowly(model, pause):
    """A kernel that takes its time."""

    def f(x1, x2=None):
        time.sleep(pause)
        return tt.kernels(model, x1, x2, progress=False)

    return f


@pytest.mark.slow
def test_workers_are_killed(compute, tmp_path):
    net, x = fully_connected(), torch.randn(56, 5)
    undisturbed = compute(net, x, tile=8, store=tmp_path / "undisturbed")
    stop, killed = threading.Event(), []
    awake = dask.config.set({"distributed.scheduler.worker-ttl": None})  # a machine that is stopped for a while kills none
    with awake, distributed.LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as local, distributed.Client(local) as c:

        def kill():
            while len(killed) < 12 and not stop.wait(1.5):
                up = [n.process for n in local.workers.values() if n.process and n.process.status == distributed.Status.running]
                if up:  # a nanny whose worker dies while it starts gives up, and one after the other all would
                    killed.append(random.choice(up).pid)
                    os.kill(killed[-1], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        handle = compute(slowly(net, 0.2), x, tile=8, client=c)
        stop.set()
        killer.join()
    assert killed
    assert handle.verify() == []
    assert all(torch.equal(handle.torch(kind=kind), undisturbed.torch(kind=kind)) for kind in handle.kinds)


SCRIPT = """
import sys, time, torch, torchtangents as tt
from distributed import Client
torch.manual_seed(0)
net = torch.nn.Sequential(tt.nn.Linear(5, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1))
def slow(x1, x2=None):
    time.sleep(PAUSE)
    return tt.kernels(net, x1, x2, progress=False)
if __name__ == "__main__":
    with Client(scheduler_file="s.json", timeout=30) as client:
        tt.scale.compute(slow, torch.randn(40, 5), store="k.zarr", tile=4, progress=False, client=client)
"""


@pytest.fixture
def deployed(elsewhere):
    """Starts a scheduler, a worker, and a client that computes, each a process of its own; kills what is left."""
    running = []

    def start(*command):
        running.append(
            subprocess.Popen(
                [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **elsewhere
            )
        )
        return running[-1]

    def deploy():
        scheduler = start("-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", "s.json")
        worker = start(
            "-m", "distributed.cli.dask_worker", "--scheduler-file", "s.json", "--nthreads", "2", "--no-dashboard", "--no-nanny"
        )
        (elsewhere["cwd"] / "client.py").write_text(SCRIPT.replace("PAUSE", "0.1"))
        return scheduler, worker, start("client.py")

    yield deploy
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("who", [pytest.param("scheduler", marks=pytest.mark.long), "scheduler and client"])
def test_scheduler_and_client_are_killed(deployed, tmp_path, who):
    scheduler, worker, client = deployed()
    store, end = tmp_path / "k.zarr", time.monotonic() + 100
    while sum(len(files) for _, _, files in os.walk(store / "nngp" / "c")) < 10:
        assert client.poll() is None, client.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)
    scheduler.kill()
    if "client" in who:
        client.kill()
    _, said = client.communicate(timeout=60)
    assert "client" in who or "the scheduler is gone; start one and call compute again, which continues" in said
    worker.kill()
    worker.wait()
    handle = tt.scale.open(store)
    missing, recorded = handle.store.missing(), len(handle.records)
    assert 0 < len(missing) < 55
    if "client" not in who:
        return
    (tmp_path / "s.json").unlink()
    *_, again = deployed()
    _, said = again.communicate(timeout=100)
    assert again.returncode == 0, said
    assert sorted(tiles(handle)[recorded:]) == missing  # no tile that was there is computed again
    assert handle.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"processes": 2}, {"devices": ["cpu", torch.device("cpu")]}], ids=str)
def test_processes_of_this_machine(compute, tmp_path, options):
    net, x = convolutional(), torch.randn(40, 2, 6, 6)
    handle = compute(net, x, tile=8, **options)
    assert torch.equal(handle.torch(), compute(net, x, tile=8, store=tmp_path / "here").torch())
    assert os.getpid() not in {r["pid"] for r in handle.records}


@pytest.mark.slow
def test_a_tile_that_kills_its_worker(compute, monkeypatch):
    def deadly(x1, x2=None):
        if len(x1) == 4:
            os._exit(1)
        return x1 @ (x1 if x2 is None else x2).T

    monkeypatch.setattr(cluster, "_DEATHS", 0)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        pytest.raises(RuntimeError, match=r"workers died 1 times .* tile \(\d, \d\)"),  # dask may blame one that had just ended
    ):
        compute(deadly, torch.randn(20, 5), tile=16, kinds="ntk", processes=1)
