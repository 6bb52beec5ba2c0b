"""A stored kernel is the kernel, for models and functions, whatever the tile, the kinds and where it is computed."""

import functools

import numpy as np
import pytest
import torch
import zarr

import torchtangents as tt
from tests.scale.conftest import convolutional, finite, fully_connected, smooth, tiles
from tests.tolerances import FLOAT32
from torchtangents.scale import work

MODELS = {"fc": (fully_connected, (5,)), "conv": (convolutional, (2, 6, 6)), "smooth": (smooth, (5,))}


def inputs(name, n, dtype=torch.float32):
    return torch.randn(n, *MODELS[name][1], dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_both_triangles(compute, name, dtype):
    net, x = MODELS[name][0](), inputs(name, 20, dtype)
    handle, exact = compute(net, x, tile=8), tt.kernels(net, x)
    for kind in ("nngp", "ntk"):
        stored = handle.torch(kind=kind)
        assert torch.equal(stored, stored.mT)
        scale = exact._asdict()[kind].diagonal().max()
        torch.testing.assert_close(
            stored, getattr(exact, kind), rtol=0, atol=float(scale) * (FLOAT32 if dtype == torch.float32 else 1e-8)
        )
        np.testing.assert_array_equal(getattr(handle, kind)[:], stored.numpy())
        np.testing.assert_array_equal(zarr.open_group(str(handle.path), mode="r")[kind][:], stored.numpy())
        np.testing.assert_array_equal(handle.dask(kind).compute(scheduler="synchronous"), stored.numpy())
    assert (handle.complete, handle.progress, handle.shape, handle.dtype) == (True, 1.0, (20, 20), np.dtype(str(dtype)[6:]))
    assert tiles(handle) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]


@pytest.mark.parametrize("name", MODELS)
def test_two_sets_of_inputs(compute, name):
    net, x1, x2 = MODELS[name][0](), inputs(name, 11), inputs(name, 7)
    handle = compute(net, x1, x2, tile=4)
    torch.testing.assert_close(handle.torch(), tt.ntk(net, x1, x2), rtol=1e-5, atol=1e-6)
    assert (handle.symmetric, len(tiles(handle))) == (False, 6)
    assert not compute(net, x1, x1, tile=4, store=handle.path.with_name("same")).symmetric


def test_x2_may_have_another_size(compute):
    net = torch.nn.Sequential(tt.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(4, 1))
    x1, x2 = torch.randn(3, 2, 6, 6), torch.randn(4, 2, 5, 7)
    torch.testing.assert_close(compute(net, x1, x2, tile=2).torch(), tt.ntk(net, x1, x2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kinds", ["nngp", ("nngp",), ("ntk",), ("ntk", "nngp")])
def test_kinds(compute, kinds):
    net, x = fully_connected(), inputs("fc", 9)
    handle = compute(net, x, kinds=kinds, tile=4)
    assert set(handle.kinds) == ({kinds} if isinstance(kinds, str) else set(kinds))
    for kind in handle.kinds:
        torch.testing.assert_close(handle.torch(kind=kind), getattr(tt.kernels(net, x), kind))


FUNCTIONS = {
    "named tuple": (functools.partial(tt.empirical.kernels, finite()), ("nngp", "ntk")),
    "tensor": (functools.partial(tt.empirical.ntk, finite()), ("ntk",)),
    "dictionary": (lambda x1, x2: {"nngp": x1 @ x2.T, "ntk": 2 * x1 @ x2.T}, ("nngp", "ntk")),
    "array": (lambda x1, x2: (x1 @ x2.T).numpy(), ("nngp",)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(compute, name):
    function, kinds = FUNCTIONS[name]
    x = inputs("fc", 11)
    handle, whole = compute(function, x, kinds=kinds, tile=4), function(x, x)
    for kind in kinds:
        expected = (
            whole
            if isinstance(whole, (torch.Tensor, np.ndarray))
            else whole[kind]
            if isinstance(whole, dict)
            else getattr(whole, kind)
        )
        torch.testing.assert_close(handle.torch(kind=kind), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)
        assert torch.equal(handle.torch(kind=kind), handle.torch(kind=kind).mT)
    rectangular = compute(function, x, x[:5], kinds=kinds, tile=4, store=handle.path.with_name("rectangular"))
    torch.testing.assert_close(
        rectangular.torch(kind=kinds[-1]), handle.torch(cols=slice(5), kind=kinds[-1]), rtol=1e-5, atol=1e-6
    )


def test_how_a_function_meets_the_diagonal(compute, tmp_path):
    """x2=None reaches a function whose author gave it a meaning; others get the same inputs twice."""
    calls = []

    def optional(x1, x2=None):
        calls.append("alone" if x2 is None else "same" if x2 is x1 else "two")
        noise = torch.eye(len(x1)) if x2 is None else 0
        return x1 @ (x1 if x2 is None else x2).T + noise

    x = inputs("fc", 6)
    stored = compute(optional, x, tile=3, kinds=("nngp",)).torch(kind="nngp")
    torch.testing.assert_close(stored, x @ x.T + torch.eye(6))
    assert calls[-3:] == ["alone", "two", "alone"]
    compute(lambda x1, x2: optional(x1, x2), x, tile=3, kinds=("nngp",), store=tmp_path / "twice")
    assert calls[-3:] == ["same", "two", "same"]


@pytest.mark.parametrize("name", ["fc", "smooth"])
def test_tiles_made_of_whole_blocks_are_alike(compute, tmp_path, name, monkeypatch):
    monkeypatch.setattr(work, "BLOCK", 8)
    net, x = MODELS[name][0](), inputs(name, 37)
    first = compute(net, x, tile=8)
    for tile in (16, 24, 64):
        assert torch.equal(compute(net, x, tile=tile, store=tmp_path / str(tile)).torch(), first.torch())
    crossed = [compute(net, x, x[:21], tile=tile, store=tmp_path / f"x{tile}").torch() for tile in (8, 16)]
    assert torch.equal(*crossed)


@pytest.mark.parametrize("tile", [1, 5, 16, 64])
def test_convolutions_do_not_depend_on_the_tile(compute, tmp_path, tile):
    net, x = convolutional(), inputs("conv", 7 if tile == 1 else 37)
    assert torch.equal(compute(net, x, tile=tile).torch(), compute(net, x, tile=8, store=tmp_path / "8").torch())


@pytest.mark.parametrize("name", MODELS)
def test_threads_do_not_matter(compute, tmp_path, name):
    net, x = MODELS[name][0](), inputs(name, 30)
    first = compute(net, x, tile=16).torch()
    torch.set_num_threads(2)
    try:
        assert torch.equal(compute(net, x, tile=16, store=tmp_path / "2").torch(), first)
    finally:
        torch.set_num_threads(1)


def test_one_device_computes_a_copy(compute):
    net, x = fully_connected(), inputs("fc", 6)
    handle = compute(net, x, devices="cpu", tile=4)
    torch.testing.assert_close(handle.torch(), tt.ntk(net, x))
    assert handle._job.kernel.model is not net


def test_default_tile():
    """Seconds of work, and files of some MB where that is little work."""
    x = torch.zeros(10**4, 3, 8, 8)
    deep = torch.nn.Sequential(
        *[m for _ in range(8) for m in (tt.nn.Conv2d(3, 3, 3, padding=1), torch.nn.ReLU())],
        torch.nn.Flatten(),
        tt.nn.Linear(192, 1),
    )
    pooled = torch.nn.Sequential(*list(deep)[:-2], tt.nn.GlobalAvgPool(), tt.nn.Linear(3, 1))
    sides = []
    for net, data in ((fully_connected(), torch.zeros(10**4, 5)), (deep, x), (pooled, x)):
        kernel = work.kernel_of(net, ("ntk",), "auto")
        sides.append(kernel.side(tt.scale.inputs.Data(data, "x1")))
    assert sides[0] == 2048 > sides[1] > sides[2] == 64


def test_attributes_are_kept(compute):
    net, x = fully_connected(), inputs("fc", 4)
    assert compute(net, x, attributes={"model": "a:b", "sizes": [1, 2]}).attributes == {"model": "a:b", "sizes": [1, 2]}
    assert compute(net, x).attributes["model"] == "a:b"
    assert compute(net, x, attributes={}).attributes == {}
