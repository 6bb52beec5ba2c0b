"""A store continues: what was computed is not computed again, whatever stopped it; another kernel is refused by name."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import torchtangents as tt
from tests.scale.conftest import fully_connected, tiles
from torchtangents.scale import chunks


class Stop(Exception):
    pass


def stopping(kernel, after, error):
    """A kernel function that raises in the tile number `after`, counting from the two calls that look at it."""
    calls = []

    def f(x1, x2=None):
        calls.append(1)
        if len(calls) > after + 1:
            raise error
        return kernel(x1, x2)

    return f


def linear(x1, x2=None):
    return x1 @ (x1 if x2 is None else x2).T


@pytest.mark.parametrize("error", [Stop(), KeyboardInterrupt(), MemoryError()], ids=repr)
def test_what_was_computed_stays(compute, error, monkeypatch, tmp_path):
    x = torch.randn(20, 5)
    monkeypatch.setattr("torchtangents.scale.work.function_digest", lambda f: "the same")
    with pytest.raises(type(error)):
        compute(stopping(linear, 7, error), x, tile=4, kinds=("nngp",))
    handle = tt.scale.open(tmp_path / "k.zarr")
    assert (handle.complete, handle.progress, len(tiles(handle))) == (False, 7 / 15, 7)
    with pytest.raises(ValueError, match="not computed yet"):
        handle.torch(kind="nngp")
    handle = compute(linear, x, kinds=("nngp",))
    assert handle.complete
    assert len(tiles(handle)) == len(set(tiles(handle))) == 15
    torch.testing.assert_close(handle.torch(kind="nngp"), x @ x.T)


def test_a_message_says_where(compute):
    def odd(x1, x2=None):
        if len(x1) == 3:
            raise ArithmeticError("odd")
        return linear(x1, x2)

    with pytest.raises(ArithmeticError) as caught:
        compute(odd, torch.randn(7, 5), tile=4, kinds=("nngp",))
    assert "rows 4 to 6 and columns 4 to 6" in caught.value.__notes__[0]


def test_calling_again_computes_nothing(compute, capsys):
    net, x = fully_connected(), torch.randn(20, 5)
    first = compute(net, x, tile=8)
    again = compute(fully_connected(), x.numpy())  # other weights and another kind of array
    assert len(tiles(again)) == len(tiles(first)) == 6
    assert again.tile == 8


DIFFERENT = {
    "model": (lambda x: (fully_connected(1.25), x), {}, r"model: layer 0 \(Linear\) differs: Affine with other numbers \(step 2 of"),
    "layers": (lambda x: (torch.nn.Sequential(tt.nn.Linear(5, 1)), x), {}, "recorded steps"),
    "activation": (lambda x: (torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.Erf(), tt.nn.Linear(8, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1)), x), {}, "layer 1.*where ABReLU"),
    "function": (lambda x: (linear, x), {"kinds": ("nngp", "ntk")}, "ntk"),
    "numbers": (lambda x: (fully_connected(), x + 1), {}, "x1: the numbers differ"),
    "one number": (lambda x: (fully_connected(), x + torch.eye(20)[:, :5] * 1e-6), {}, "x1: the numbers differ"),
    "dtype": (lambda x: (fully_connected(), x.double()), {}, "dtype: stored float32, asked for float64"),
    "shape": (lambda x: (fully_connected(inputs=6), torch.randn(20, 6)), {}, r"x1: stored inputs float32 \(5,\), asked for float32 \(6,\)"),
    "fewer": (lambda x: (fully_connected(), x[:10]), {}, "x1: stored 20 inputs, asked for 10"),
    "more": (lambda x: (fully_connected(), torch.cat([x, x])), {}, "begin alike: pass append=True"),
    "more of others": (lambda x: (fully_connected(), torch.cat([x + 1, x])), {"append": True}, "x1: the numbers differ"),
    "tile": (lambda x: (fully_connected(), x), {"tile": 4}, "tile: stored 8, asked for 4"),
    "kinds": (lambda x: (fully_connected(), x), {"kinds": ("ntk",)}, "kinds: stored"),
    "backend": (lambda x: (fully_connected(), x), {"backend": "reference"}, "backend: stored auto, asked for reference"),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_kernel_is_refused(compute, name):
    x = torch.randn(20, 5)
    handle = compute(fully_connected(), x, tile=8)
    before = handle.torch()
    change, options, words = DIFFERENT[name]
    net, inputs = change(x)
    with pytest.raises((ValueError, TypeError), match=words):
        compute(net, inputs, **options)
    assert torch.equal(handle.torch(), before)


def test_x2_is_compared_too(compute):
    net, x = fully_connected(), torch.randn(8, 5)
    compute(net, x, x[:4], tile=4)
    with pytest.raises(ValueError, match="x2: the numbers differ"):
        compute(net, x, x[4:])
    with pytest.raises(ValueError, match=r"inputs: stored x1 with x2, asked for x1 with itself \(x2=None\)"):
        compute(net, x)


def test_other_versions_are_told(compute, tmp_path):
    net, x = fully_connected(), torch.randn(8, 5)
    compute(net, x)
    path = tmp_path / "k.zarr" / "zarr.json"
    group = json.loads(path.read_text())
    group["attributes"]["torchtangents"]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(group))
    with pytest.warns(UserWarning, match=r"whose roundings may differ: torch 1\.0 then, "):
        compute(net, x)


def test_what_is_not_a_store(compute, tmp_path):
    (tmp_path / "k.zarr").mkdir()
    (tmp_path / "k.zarr" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="found something else; choose another path"):
        compute(fully_connected(), torch.randn(3, 5))
    with pytest.raises(ValueError, match="found something else"):
        tt.scale.open(tmp_path / "k.zarr")
    with pytest.raises(FileNotFoundError, match=r"found nothing; tt\.scale\.compute makes one"):
        tt.scale.open(tmp_path / "nowhere")


def test_an_empty_folder_is_a_place_for_a_store(compute, tmp_path):
    (tmp_path / "k.zarr").mkdir()
    assert compute(fully_connected(), torch.randn(3, 5)).complete


def test_a_full_disk(compute, monkeypatch, tmp_path):
    net, x = fully_connected(), torch.randn(20, 5)
    real, calls = os.fsync, []

    def full(file):
        calls.append(1)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    monkeypatch.setattr(chunks.os, "fsync", full)
    with pytest.raises(OSError, match=r"the disk is full: .* Make space and call compute again, which continues") as caught:
        compute(net, x, tile=4)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    part = tt.scale.open(tmp_path / "k.zarr")
    assert 0 < part.progress < 1
    before = part.store.missing()
    handle = compute(net, x)
    assert handle.verify() == []
    assert tiles(handle)[-len(before) :] == before
    assert not list(handle.store.side.glob("*.part"))


def test_too_little_space_is_said_before_it_starts(compute, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"15 tiles need 3.4 KB, but the disk has 1.0 KB free. Make space"):
        compute(fully_connected(), torch.randn(20, 5), tile=4)
    assert tiles(tt.scale.open(tmp_path / "k.zarr")) == []


def test_size_is_announced(compute, capsys):
    compute(fully_connected(), torch.randn(20, 5), tile=8, progress=True)
    said = capsys.readouterr().err
    assert "nngp and ntk of Sequential, 20 x 20 float32; 6 of 6 tiles of 8 x 8 to compute, 4.7 KB to write" in said
    assert "6/6" in said


CHILD = """
import functools, sys, time, torch, torchtangents as tt
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Sequential(tt.nn.Linear(5, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1))
def slow(x1, x2=None):
    time.sleep({pause})
    return tt.kernels(net, x1, x2, progress=False)
if __name__ == "__main__":
    x = torch.randn(40, 5)
    handle = tt.scale.compute(slow, x, store="k.zarr", tile=4, progress=False)
    print("finished", len(handle.records))
"""


def start(elsewhere, pause):
    (elsewhere["cwd"] / "child.py").write_text(
        CHILD.replace("{pause}", "PAUSE[0]").replace("def slow", f"PAUSE = [{pause}]\ndef slow")
    )
    return subprocess.Popen([sys.executable, "child.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **elsewhere)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def begun(store, count):
    folder = store / "nngp" / "c"
    return folder.exists() and sum(len(files) for _, _, files in os.walk(folder)) >= count


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_kill_and_resume(elsewhere, tmp_path, how):
    child = start(elsewhere, 0.02)
    wait_for(lambda: begun(tmp_path / "k.zarr", 10))
    with pytest.raises(BlockingIOError, match=rf"process {child.pid} on .* is computing into"):  # two processes on one store
        tt.scale.compute(linear, torch.randn(40, 5), store=tmp_path / "k.zarr", kinds=("nngp",), progress=False)
    child.send_signal(how)
    child.communicate()
    handle = tt.scale.open(tmp_path / "k.zarr")
    missing = handle.store.missing()
    assert 0 < len(missing) < 55
    recorded = len(handle.records)
    again = start(elsewhere, 0.02)
    out, _ = again.communicate(timeout=60)
    assert "finished" in out
    assert tiles(handle)[recorded:] == missing  # no tile that was there is computed again
    assert handle.complete
    assert handle.verify() == []
    assert sorted(os.listdir(handle.store.side)) == ["lock", "records.jsonl"]
