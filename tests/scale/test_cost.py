"""What a stored kernel will cost."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import torchtangents as tt
from torchtangents.scale import measure
from torchtangents.scale.cost import Costs, Estimate, Measured, lasting, operations, work
from torchtangents.scale.grid import Grid
from torchtangents.scale.measure import estimate, task_overhead

from .conftest import convolutional, fully_connected

COSTS = Costs(call=0.01, input=2e-4, pair=3e-6, own=2e-6, file=0.004, byte=1e-9, read=2e-9)


def made(**changes):
    measured = (Measured(64, 64, False, 0.05),)
    whole = {
        "n1": 1000, "n2": None, "kinds": ("nngp", "ntk"), "tile": 96, "dtype": "float32", "itemsize": 4, "row_bytes": 20, "costs": COSTS,
        "block": 64, "threads": 1, "working_bytes": 1 << 20, "free_bytes": 1 << 34, "measured": measured, "overhead": 0.002,
        "operations": 100, "own_operations": 10,
    }  # fmt: skip
    return Estimate(**{**whole, **changes})


def by_hand(e, n1, n2, tile):
    """Seconds of all calls, block by block."""
    grid, total = Grid((n1, n1 if n2 is None else n2), tile, n2 is None), 0.0
    for place in grid.places():
        rows, columns = grid.slices(place)
        for i in range(rows.start, rows.stop, e.block):
            for j in range(columns.start, columns.stop, e.block):
                own = grid.symmetric and rows == columns
                a, b = min(e.block, rows.stop - i), min(e.block, columns.stop - j)
                if own and j == i:
                    total += COSTS.call + COSTS.input * a + COSTS.own * a * a
                elif not own or j > i:
                    total += COSTS.call + COSTS.input * (a + b) + COSTS.pair * a * b
    return total


@pytest.mark.parametrize("tile", [32, 64, 96, 128, 1000])
@pytest.mark.parametrize(("n1", "n2"), [(1000, None), (96, None), (1, None), (500, 200), (64, 64), (7, 300)])
def test_seconds_are_those_of_every_call_added_up(n1, n2, tile):
    e = made(n1=n1, n2=n2, tile=tile)
    assert e.compute_seconds() == pytest.approx(by_hand(e, n1, n2, min(tile, max(n1, n2 or 0))), rel=1e-12)
    assert made(n1=3, n2=None if n2 is None else 3).compute_seconds(n1, n2, tile=tile) == pytest.approx(e.compute_seconds())


@pytest.mark.parametrize(("n1", "n2", "tile"), [(50, None, 16), (48, None, 16), (20, 33, 16), (5, None, 64)])
def test_tiles_and_bytes_are_those_of_a_store(compute, n1, n2, tile):
    x2 = None if n2 is None else torch.randn(n2, 5)
    handle = compute(fully_connected(), torch.randn(n1, 5), x2, tile=tile)
    e = made(n1=n1, n2=n2, tile=tile)
    assert e.tiles() == handle.store.grid.count
    files = [p for kind in handle.kinds for p in (handle.path / kind / "c").rglob("*") if p.is_file()]
    if tile <= max(n1, n2 or 0):
        assert e.store_bytes() == sum(p.stat().st_size for p in files)
    assert e.write_seconds() == pytest.approx(len(files) * COSTS.file + COSTS.byte * e.store_bytes())


def test_one_process_computes_while_it_writes():
    e = made()
    compute, write = e.compute_seconds(), e.write_seconds()
    start = COSTS.read * e.row_bytes * e.n1
    assert max(compute, write) < e.seconds() - start < compute + write
    assert e.hours() == e.seconds() / 3600
    assert made(overlap=0.0).seconds() == pytest.approx(start + compute + write)
    assert made(overlap=-1.0).seconds() > start + compute + write


def test_workers_share_tiles_until_the_scheduler_is_busy():
    e = made(n1=50_000)
    start, each, count = COSTS.read * e.row_bytes * e.n1, e.tile_seconds(), e.tiles()
    assert e.seconds(workers=10) == pytest.approx(start + math.ceil(count / 10) * each)
    assert e.workers_max == pytest.approx(each / 0.002)
    below, above = math.floor(0.9 * e.workers_max), math.ceil(10 * e.workers_max)
    assert e.efficiency(below) > 0.98
    assert e.seconds(workers=above) == pytest.approx(start + count * 0.002)
    assert e.efficiency(above) == pytest.approx(0.1, rel=0.05)
    times = [e.seconds(workers=w) for w in range(2, 200)]
    assert times == sorted(times, reverse=True)


def test_workers_without_tiles_are_idle():
    e = made(n1=192)  # three tiles
    assert e.seconds(workers=3) == e.seconds(workers=300)
    assert e.efficiency(300) == pytest.approx(0.01)


@pytest.mark.parametrize("workers", [1, 8, 500])
def test_best_tile_is_within_two_percent_of_the_fastest(workers):
    e = made(n1=30_000)
    best = e.best_tile(workers)
    times = {s: e.seconds(workers=workers, tile=s) for s in range(64, 2049, 64)}
    assert times[best] <= 1.02 * min(times.values())
    assert all(times[s] > 1.02 * min(times.values()) for s in times if s > best)


def test_best_tile_fits_in_memory_and_shrinks_with_workers():
    e = made(n1=30_000)
    small = e.best_tile(1, memory=4e6)
    assert small > 64
    assert e.memory_bytes(tile=small) <= 4e6 < e.memory_bytes(tile=small + 64)
    assert e.best_tile(5000) < e.best_tile(1)


@pytest.mark.parametrize(("net", "old", "new"), [(None, (1, 2, 6, 6), (1, 2, 12, 12))])
def test_scaling_follows_the_operations_of_the_trace(net, old, new):
    def pooled():
        return torch.nn.Sequential(tt.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(4, 1))

    pair, own = operations(pooled(), old)
    assert pair == tt.trace(pooled(), old).cost
    assert own > 0
    e = made(operations=pair, own_operations=own)
    larger = e.scaled(pooled(), new)
    ratio = tt.trace(pooled(), new).cost / pair
    assert ratio > 4
    assert larger.costs.pair == pytest.approx(COSTS.pair * ratio)
    assert larger.costs.own == pytest.approx(COSTS.own * ratio)
    assert larger.costs.input == pytest.approx(COSTS.input * operations(pooled(), new)[1] / own)
    assert larger.row_bytes == 2 * 12 * 12 * 4
    assert (larger.costs.call, larger.costs.byte) == (COSTS.call, COSTS.byte)
    assert e.scaled(pooled(), old) == dataclasses.replace(e, row_bytes=2 * 6 * 6 * 4)


class Clock:
    """A clock that moves where the work under test says so."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Replaces the clock of the measurement; files take time by their size."""
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)

    def write(path, values, tile, side):
        path.write_bytes(b"")
        clock.now += 0.004 + 1e-9 * (tile * tile * values.dtype.itemsize + 4)

    monkeypatch.setattr(measure, "write_chunk", write)
    return clock


def slow(clock, log, pair=3e-6):
    def kernel(x1, x2=None):
        n1, n2 = len(x1), len(x1 if x2 is None else x2)
        log.append((n1, n2, x2 is None))
        clock.now += 0.01 + (2e-4 * n1 + 2e-6 * n1 * n1 if x2 is None else 2e-4 * (n1 + n2) + pair * n1 * n2)
        return x1 @ (x1 if x2 is None else x2).mT

    return kernel


@pytest.mark.parametrize("second", [None, 700])
def test_costs_are_recovered_from_what_calls_and_files_take(clock, second):
    x2 = None if second is None else torch.randn(second, 5)
    e = estimate(slow(clock, []), torch.randn(900, 5), x2, kinds=("ntk",), tile=400, seconds=60)
    assert e.costs.call == pytest.approx(0.01, rel=1e-6)
    assert e.costs.input == pytest.approx(2e-4, rel=1e-6)
    assert e.costs.pair == pytest.approx(3e-6, rel=1e-6)
    assert e.costs.own == pytest.approx(2e-6 if second is None else 3e-6, rel=1e-6)
    assert e.costs.file == pytest.approx(0.004, rel=1e-6)
    assert e.costs.byte == pytest.approx(1e-9, rel=1e-4)
    assert e.error < 1e-6


@pytest.mark.parametrize(("pair", "overlap"), [(3e-6, 0.0), (1e-3, 1.0)])
def test_what_writing_hides_is_measured_where_it_matters(clock, pair, overlap):
    e = estimate(slow(clock, [], pair), torch.randn(900, 5), kinds=("ntk",), tile=64, seconds=120)
    assert e.overlap == pytest.approx(overlap, abs=1e-6)  # this clock adds up what threads do


@pytest.mark.parametrize(("pair", "seconds"), [(1e-7, 5.0), (1e-5, 5.0), (1e-3, 5.0), (1e-3, 30.0), (1e-2, 20.0)])
def test_it_measures_no_longer_than_asked(clock, pair, seconds):
    log = []
    estimate(slow(clock, log, pair), torch.randn(3000, 5), kinds=("ntk",), tile=512, seconds=seconds)
    assert clock.now < 1.2 * seconds
    assert len({size for size in log if not size[2]}) >= 4


def test_smaller_data_than_the_smallest_call(clock):
    e = estimate(slow(clock, []), torch.randn(3, 5), kinds=("ntk",), seconds=5.0)
    assert (e.tiles(), e.tiles(10**5) > 100) == (1, True)
    assert e.seconds() > 0.01


@pytest.mark.parametrize("net", [fully_connected, convolutional])
@pytest.mark.parametrize("second", [None, 30])
def test_it_measures_a_real_network(net, second):
    shape = (5,) if net is fully_connected else (2, 6, 6)
    x2 = None if second is None else torch.randn(second, *shape)
    e = estimate(net(), torch.randn(50, *shape), x2, seconds=0.2, tile=32, overhead=0.002)
    assert 0 < e.seconds() < 60
    assert all(c >= 0 for c in e.costs)
    assert e.operations == tt.trace(net(), (2, *shape)).cost
    for word in (
        "50 x 50" if second is None else "50 x 30",
        "of 32 x 32",
        "float32",
        "memory",
        "workers",
        "a pair",
        "2.0 ms a task",
    ):
        assert word in repr(e)


def test_memmaps_kinds_and_tuples(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((40, 5)))
    e = estimate(fully_connected(), np.load(tmp_path / "x.npy", mmap_mode="r"), kinds="nngp", seconds=0.1)
    assert (e.kinds, e.dtype, e.itemsize) == (("nngp",), "float64", 8)


def test_torch_threads_are_put_back():
    before = torch.get_num_threads()
    e = estimate(fully_connected(), torch.randn(20, 5), seconds=0.05, threads=before + 1)
    assert e.threads == before + 1
    assert torch.get_num_threads() == before


def test_files_are_removed(tmp_path):
    estimate(fully_connected(), torch.randn(20, 5), seconds=0.05, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        made().tile = 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seconds": 0}, "seconds: expected a positive"),
        ({"seconds": float("nan")}, "seconds: expected a positive"),
        ({"workers": 0}, "workers: expected a positive"),
        ({"workers": True}, "workers: expected a positive"),
        ({"tile": 2.5}, "tile: expected a positive"),
        ({"overhead": -1.0}, "overhead: expected a positive"),
        ({"threads": 0}, "threads: expected a positive"),
        ({"kinds": ("ntk", "cntk")}, "kinds: expected"),
        ({"backend": "fast"}, "backend: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        estimate(fully_connected(), torch.randn(4, 5), **options)


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda e: e.seconds(0), "n1: expected"),
        (lambda e: e.seconds(None, 5), "n1: expected"),
        (lambda e: e.hours(10, workers=0), "workers: expected"),
        (lambda e: e.tiles(10, tile=0), "tile: expected"),
        (lambda e: dataclasses.replace(e, n2=5).seconds(10), "n2: the estimate is of x1 with x2"),
        (lambda e: dataclasses.replace(e, overhead=None).hours(workers=2), "overhead was not measured"),
        (lambda e: dataclasses.replace(e, overhead=None).workers_max, "overhead was not measured"),
        (lambda e: dataclasses.replace(e, operations=None).scaled(fully_connected(), (1, 5)), "got one of a kernel function"),
    ],
)
def test_questions_that_make_no_sense_are_refused(ask, match):
    with pytest.raises(ValueError, match=match):
        ask(made())


def test_a_network_that_is_not_one_is_refused():
    with pytest.raises(TypeError, match="model_or_kernel_fn"):
        estimate(3, torch.randn(4, 5))


def test_blocks_of_a_tile():
    assert work(100, 70, False, 64) == (4, 100 * 2 + 70 * 2, 7000, 0)
    assert work(100, 100, True, 64) == (3, 64 + 36 + 100, 64 * 36, 64**2 + 36**2)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0.0 ns"), (1.04, "1.0 s"), (119.0, "119 s"), (299.0, "299 s"), (360.0, "6.0 min")]
)
def test_times_in_words(seconds, words):
    assert lasting(seconds) == words


def test_overhead_of_a_client_is_that_of_computes_own_tasks(clock, monkeypatch, tmp_path):
    ran = []

    def run_on(client, job, places, done):
        ran.append((client, len(places), all(not job.store.missing_files(p) for p in places)))
        clock.now += 1.0 + 0.003 * len(places)

    monkeypatch.setattr(measure.cluster, "run_on", run_on)
    client = SimpleNamespace()
    assert task_overhead(client, tmp_path, tasks=50) == pytest.approx(0.003)
    assert all(c is client and there for c, _, there in ran)


@pytest.mark.slow
def test_overhead_of_a_local_cluster():
    assert 1e-5 < task_overhead(tasks=60) < 1
