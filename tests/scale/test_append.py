"""New inputs extend a stored kernel by their rows and columns only, and the result is that of one computation."""

import pytest
import torch

import torchtangents as tt
from tests.scale.conftest import convolutional, fully_connected, tiles
from torchtangents.scale import computing
from torchtangents.scale.manifest import Manifest
from torchtangents.scale.store import Store

NETS = {"fc": (fully_connected, (5,)), "conv": (convolutional, (2, 6, 6))}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("old", "new"), [(8, 12), (8, 13), (10, 12), (10, 25), (3, 4)])
def test_symmetric(compute, tmp_path, name, old, new):
    net, x = NETS[name][0](), torch.randn(new, *NETS[name][1])
    before = tiles(compute(net, x[:old], tile=4))
    handle = compute(net, x, append=True)
    whole = compute(net, x, tile=4, store=tmp_path / "whole")
    kept = {p for p in before if handle.store.grid.slices(p)[1].stop <= old // 4 * 4}
    assert set(tiles(handle)[len(before) :]) == set(tiles(whole)) - kept
    for kind in ("nngp", "ntk"):
        assert handle.nngp.shape == (new, new)
        assert torch.equal(handle.torch(kind=kind), whole.torch(kind=kind))
    assert handle.verify() == []
    assert len(tiles(compute(net, x))) == len(tiles(handle))  # complete, without saying append


@pytest.mark.parametrize(("rows", "columns"), [(9, 0), (0, 5), (4, 4)])
def test_rectangular(compute, tmp_path, rows, columns):
    net, x = fully_connected(), torch.randn(30, 5)
    compute(net, x[:6], x[:7], tile=4)
    handle = compute(net, x[: 6 + rows], x[: 7 + columns], append=True)
    assert torch.equal(handle.torch(), compute(net, x[: 6 + rows], x[: 7 + columns], tile=4, store=tmp_path / "whole").torch())


def test_nothing_new(compute):
    net, x = fully_connected(), torch.randn(9, 5)
    count = len(tiles(compute(net, x, tile=4, append=True)))
    assert len(tiles(compute(net, x, append=True))) == count


@pytest.mark.parametrize("stop", ["discard", "write", "fit", "run_here"])
def test_stopped_at_any_moment(compute, tmp_path, monkeypatch, stop):
    """A growth that stops leaves the old kernel, or the new one in part; both continue."""
    net, x = fully_connected(), torch.randn(14, 5)
    compute(net, x[:10], tile=4)

    class Stop(Exception):
        pass

    def stopped(*_):
        raise Stop

    owner = {"discard": Store, "write": Manifest, "fit": Store, "run_here": computing}[stop]
    monkeypatch.setattr(owner, stop, stopped)
    with pytest.raises(Stop):
        compute(net, x, append=True)
    monkeypatch.undo()
    size = tt.scale.open(tmp_path / "k.zarr").shape[0]
    assert size == (10 if stop in ("discard", "write") else 14)
    for n in (10, 14) if size == 10 else (14,):
        handle = compute(net, x[:n], append=True)
        assert handle.verify() == []
        assert torch.equal(handle.torch(), compute(net, x[:n], tile=4, store=tmp_path / str(n)).torch())
