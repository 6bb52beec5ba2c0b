"""What cannot be computed is refused before anything is stored."""

import functools

import pytest
import torch

import torchtangents as tt
from tests.scale.conftest import finite, fully_connected

X = torch.randn(6, 5)
NET = fully_connected()


def odd(result):
    return lambda x1, x2: result(x1, x2)


CASES = {
    "model": (("text", X), {}, TypeError, "model_or_kernel_fn: expected a torch.nn.Module or a function"),
    "layer": ((torch.nn.Linear(5, 1), X), {}, NotImplementedError, "from_torch"),
    "positions": ((tt.nn.Conv2d(1, 1, 1), torch.ones(2, 1, 3, 3)), {}, ValueError, r"positions \(3, 3\) are left"),
    "nan": ((NET, torch.full((3, 5), torch.nan)), {}, ValueError, r"x1.*got nan at index \(0, 0\)"),
    "dtype": ((NET, X.half()), {}, TypeError, "half precision"),
    "x2 of another dtype": ((NET, X, X.double()), {}, TypeError, "one dtype"),
    "x2 of another size": ((NET, X, X[:, :4]), {}, ValueError, "5"),
    "kinds": ((NET, X), {"kinds": ("ntk", "nkt")}, ValueError, "kinds: expected one or both"),
    "no kinds": ((NET, X), {"kinds": ()}, ValueError, "kinds: expected one or both"),
    "tile": ((NET, X), {"tile": 0}, ValueError, "tile: expected a positive number"),
    "backend": ((NET, X), {"backend": "gpu"}, ValueError, "backend: expected one of"),
    "backend of a function": ((functools.partial(tt.empirical.ntk, finite()), X), {"backend": "cpu", "kinds": "ntk"}, ValueError, "chooses by itself"),
    "store": ((NET, X), {"store": "s3://bucket/k"}, TypeError, "store: expected the path of a folder"),
    "client": ((NET, X), {"client": "tcp://1"}, TypeError, "client: expected a distributed.Client"),
    "processes": ((NET, X), {"processes": 0}, ValueError, "processes: expected a positive number"),
    "devices": ((NET, X), {"devices": []}, ValueError, "devices: expected at least one"),
    "devices of a wrong kind": ((NET, X), {"devices": 2}, TypeError, "devices: expected the name"),
    "attributes": ((NET, X), {"attributes": {"net": NET}}, TypeError, "attributes: expected a dictionary"),
    "attributes JSON would change": ((NET, X), {"attributes": {1: 2}}, TypeError, "attributes: expected a dictionary"),
    "unnamed": ((odd(lambda a, b: a @ b.T), X), {}, TypeError, r"expected 'nngp' in what it returns.*pass kinds=\('ntk',\)"),
    "nothing": ((odd(lambda a, b: None), X), {"kinds": "ntk"}, TypeError, "got NoneType"),
    "wrong shape": ((odd(lambda a, b: a @ b.T @ b), X), {"kinds": "ntk"}, ValueError, "a number for each pair of inputs"),
    "outputs left": ((functools.partial(tt.empirical.ntk, finite(), trace_axes=()), X), {"kinds": "ntk"}, ValueError, "trace or average"),
    "integers": ((odd(lambda a, b: (a @ b.T).long()), X), {"kinds": "ntk"}, ValueError, "float32 or float64"),
    "overflow": ((odd(lambda a, b: a @ b.T * 1e38 * 1e38), X), {"kinds": "ntk"}, OverflowError, "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(name, tmp_path):
    args, options, error, words = CASES[name]
    with pytest.raises(error, match=words):
        tt.scale.compute(*args, **{"store": tmp_path / "k.zarr", "progress": False, **options})
    assert not list(tmp_path.iterdir())


def test_a_function_that_is_not_symmetric(tmp_path):
    with pytest.raises(ValueError, match=r"expected a symmetric ntk.*pass x2=x1"):
        tt.scale.compute(lambda a, b: a @ b.T + a[:, :1], X, kinds="ntk", store=tmp_path / "k", progress=False)


def test_a_tile_of_another_dtype(tmp_path):
    def f(x1, x2):
        return x1 @ x2.T if len(x1) < 3 else (x1 @ x2.T).double()

    with pytest.raises(TypeError, match="ntk: expected float32, as in its first tile, got float64"):
        tt.scale.compute(f, X, kinds="ntk", store=tmp_path / "k", tile=6, progress=False)


def test_a_client_is_the_processes(tmp_path):
    class Client:
        def scheduler_info(self):
            raise AssertionError

    for options in ({"processes": 2}, {"devices": ["cpu"]}):
        with pytest.raises(ValueError, match="its workers are the processes"):
            tt.scale.compute(NET, X, client=Client(), store=tmp_path / "k", **options)


def test_without_zarr(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(ImportError, match=r"pip install 'torchtangents\[scale\]'"):
        tt.scale.open("k.zarr")
