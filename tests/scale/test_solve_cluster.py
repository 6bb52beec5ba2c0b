"""Products with tiles as tasks of a `distributed` cluster."""

import os
import signal

import pytest
import torch

from torchtangents.scale import cg_checkpoint
from torchtangents.scale.solve import solve

from .solve_kernels import TILE, handle, lazily, random, skewed, zarr_array

distributed = pytest.importorskip("distributed")
OPTIONS = {"diag_reg": 1.0, "tolerance": 1e-8, "preconditioner_rank": 3, "progress": False}


@pytest.fixture(scope="module")
def client():
    """Two workers that are threads of this process."""
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


CASES = {
    "handle": (random, lambda k, path: handle(k, path, TILE), None),
    "zarr": (random, lambda k, path: zarr_array(k, path, (TILE, TILE)), TILE),
    "zarr, skewed": (skewed, lambda k, path: zarr_array(k, path, (TILE, TILE)), TILE),
    "dask": (random, lambda k, path: lazily(k, (70, 70)), None),
    "dask, skewed, persisted": (skewed, lambda k, path: lazily(k, ((100, 50), (30, 120))).persist(), None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_as_here(client, case, tmp_path):
    kernel, holder, tile = CASES[case]
    k, _, y = kernel(torch.float32)
    held = holder(k, tmp_path / "k.zarr")
    there, here = solve(held, y, **OPTIONS, tile=tile, client=client), solve(held, y, **OPTIONS, tile=tile, method="cg")
    torch.testing.assert_close(there.alpha, here.alpha, rtol=1e-6, atol=1e-7)
    assert there.method == "cg"
    assert there.residuals.max() <= 1e-8


def test_taken_up_again(client, tmp_path):
    k, _, y = random(torch.float32)
    k = lazily(k, (70, 70)).persist()
    whole = solve(k, y, **OPTIONS, client=client)
    with pytest.raises(RuntimeError):
        solve(k, y, **OPTIONS, client=client, checkpoint=tmp_path / "state.npz", max_iterations=3)
    again = solve(k, y, **OPTIONS, client=client, checkpoint=tmp_path / "state.npz")
    assert torch.equal(again.alpha, whole.alpha)


def test_nan(client):
    k, _, y = random(torch.float32)
    k = k.clone()
    k[140, 20] = k[20, 140] = float("nan")
    with pytest.raises(ValueError, match=r"got nan at index \(20, 140\), in tile \(0, 2\)"):
        solve(lazily(k, (TILE, TILE)), y, **OPTIONS, client=client)


@pytest.mark.slow
def test_a_worker_that_dies(tmp_path, monkeypatch):
    """A process that is killed in the middle changes no bit of the result."""
    k, _, y = random(torch.float32)
    stored = handle(k, tmp_path / "k.zarr", TILE)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        whole = solve(stored, y, **OPTIONS, tile=TILE, client=client)
        killed = []

        def kill(self, state, last):
            if state.iteration == 3 and not killed:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        monkeypatch.setattr(cg_checkpoint.Checkpoint, "save", kill)
        again = solve(stored, y, **OPTIONS, tile=TILE, client=client)
    assert killed
    assert torch.equal(again.alpha, whole.alpha)
