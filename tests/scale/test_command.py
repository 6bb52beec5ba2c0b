"""`torchtangents kernel`."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch

import torchtangents as tt
from torchtangents import cli
from torchtangents.scale import measure

MODELS = """
import torch, torchtangents as tt

class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = tt.nn.Linear(5, 8), tt.nn.Linear(8, 1)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))

def make():
    return Own()

def broken():
    raise RuntimeError("no weights")

def other():
    return torch.nn.Sequential(tt.nn.Linear(5, 8, w_std=2.), torch.nn.ReLU(), tt.nn.Linear(8, 1))

def learned():
    return torch.nn.Sequential(tt.nn.Linear(5, 8), torch.nn.Softmax(-1), tt.nn.Linear(8, 1))

net = make()
number = 3
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with models and data, that is the current one; returns it."""
    (tmp_path / "mymodels.py").write_text(MODELS)
    (tmp_path / "faulty.py").write_text("import no_such_package\n")
    draw = np.random.default_rng(0).standard_normal
    np.save(tmp_path / "x.npy", draw((40, 5), dtype=np.float32))
    np.save(tmp_path / "z.npy", draw((12, 5), dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("mymodels", "faulty"):
        sys.modules.pop(name, None)


def run(*words):
    return cli.main(["kernel", *words])


def begin(*more, model="mymodels:net", data="x.npy"):
    return run("--model", model, "--data", data, "--out", "k.zarr", "--tile", "16", "-q", *more)


def expected(name="net", second=None):
    x = torch.from_numpy(np.load("x.npy"))
    found = getattr(__import__("mymodels"), name)
    net = found if isinstance(found, torch.nn.Module) else found()
    return tt.kernels(net, x, None if second is None else torch.from_numpy(np.load(second)))


@pytest.mark.parametrize("model", ["mymodels:net", "mymodels:make", "mymodels:other", "mymodels:Own"])
def test_it_stores_the_kernels_of_a_model(here, model, capsys):
    assert begin(model=model) == 0
    handle = tt.scale.open("k.zarr")
    assert handle.complete
    torch.testing.assert_close(handle.torch(), expected(model.split(":")[1]).ntk)
    torch.testing.assert_close(handle.torch(kind="nngp"), expected(model.split(":")[1]).nngp)
    assert "100.0% computed" in capsys.readouterr().out


def test_two_sets_of_inputs_one_kind(here):
    assert begin("--data2", "z.npy", "--kinds", "ntk") == 0
    handle = tt.scale.open("k.zarr")
    assert (handle.kinds, handle.symmetric, handle.shape) == (("ntk",), False, (40, 12))
    torch.testing.assert_close(handle.torch(), expected(second="z.npy").ntk)


def test_zarr_data(here):
    import zarr

    x = np.load("x.npy")
    array = zarr.create_array("x.zarr", shape=x.shape, chunks=(7, 5), dtype=x.dtype)
    array[:] = x
    assert begin(data="x.zarr") == 0
    torch.testing.assert_close(tt.scale.open("k.zarr").torch(), expected().ntk)


def test_it_resumes_from_any_folder_with_what_the_store_says(here, monkeypatch):
    assert begin("--kinds", "nngp", "--backend", "reference") == 0
    handle = tt.scale.open("k.zarr")
    assert handle.attributes["model"] == "mymodels:net"
    assert handle.attributes["data"] == str(here / "x.npy")
    handle.store.discard((0, 1))
    handle.store.discard((2, 2))
    count = len(handle.records)
    away = here / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    sys.modules.pop("mymodels")
    sys.path[:] = [p for p in sys.path if p != str(here)]
    assert run("--resume", "--out", str(here / "k.zarr"), "-q") == 0
    assert [tuple(r["tile"]) for r in handle.records[count:]] == [(0, 1), (2, 2)]
    assert handle.complete


def test_longer_data_are_appended(here):
    assert begin() == 0
    np.save("longer.npy", np.concatenate([np.load("x.npy"), np.load("z.npy")]))
    assert begin(data="longer.npy") == 1
    assert begin("--append", data="longer.npy") == 0
    assert tt.scale.open("k.zarr").shape == (52, 52)
    assert tt.scale.open("k.zarr").attributes["data"].endswith("longer.npy")


def test_verify_lists_what_is_damaged_and_resume_repairs_it(here, capsys):
    assert begin() == 0
    assert run("--verify", "--out", "k.zarr", "-q") == 0
    assert "all 6 tiles are whole" in capsys.readouterr().out
    path = here / "k.zarr" / "ntk" / "c" / "0" / "1"
    raw = bytearray(path.read_bytes())
    raw[5] ^= 1
    path.write_bytes(raw)
    assert run("--verify", "--out", "k.zarr", "-q") == 1
    said = capsys.readouterr().out
    assert "tile 0,1" in said
    assert "checksum" in said
    assert "--resume --out k.zarr" in said
    assert run("--resume", "--out", "k.zarr", "-q") == 0
    assert run("--verify", "--out", "k.zarr", "-q") == 0


@pytest.fixture
def quick(monkeypatch):
    """A measurement that takes no time to speak of."""
    real = measure.estimate
    monkeypatch.setattr(measure, "estimate", lambda *a, **k: real(*a, **{**k, "seconds": 0.05}))


def test_an_estimate_alone_computes_nothing(here, capsys, quick):
    assert run("--model", "mymodels:net", "--data", "x.npy", "--out", "k.zarr", "--estimate") == 0
    said = capsys.readouterr().out
    for word in ("40 x 40", "tiles", "store", "memory", "time"):
        assert word in said
    assert sorted(p.name for p in here.iterdir() if p.name != "__pycache__") == ["faulty.py", "mymodels.py", "x.npy", "z.npy"]


def test_it_says_what_it_will_cost_and_shows_a_bar(here, capsys, quick):
    assert run("--model", "mymodels:net", "--data", "x.npy", "--out", "k.zarr", "--tile", "16") == 0
    said = capsys.readouterr().err
    assert said.index("6 of 16 x 16") < said.index("6/6")
    tt.scale.open("k.zarr").store.discard((0, 1))
    assert run("--resume", "--out", "k.zarr", "--estimate") == 0
    assert "83.3%" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("answer", "options", "status"), [("n\n", [], 1), ("", [], 0), ("y\n", [], 0), ("\n", [], 0), ("n\n", ["-y"], 0)]
)
def test_a_terminal_is_asked(here, monkeypatch, quick, answer, options, status):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    if answer == "":
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))  # not a terminal
    assert run("--model", "mymodels:net", "--data", "x.npy", "--out", "k.zarr", *options) == status
    assert (here / "k.zarr").exists() == (status == 0)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--model", "nothing:net"], "no module 'nothing'; expected a file nothing.py in"),
        (["--model", "mymodels.deep:net"], "no module"),
        (["--model", "faulty:net"], "importing faulty failed: ModuleNotFoundError: No module named 'no_such_package'"),
        (["--model", "mymodels:nix"], "mymodels has no nix; it has"),
        (["--model", "mymodels:number"], "expected a torch.nn.Module, or a function without arguments that returns one, got int"),
        (["--model", "mymodels:broken"], "broken\\(\\) failed: RuntimeError: no weights"),
        (["--model", "mymodels:learned"], "Softmax"),
        (["--data", "nothing.npy"], "no such file"),
        (["--data", "mymodels.py"], "expected a .npy file or a .zarr array"),
        (["--data", "text.npy"], "not an array that numpy can map"),
        (["--data", "group.zarr"], "expected a zarr array"),
        (["--data2", "nothing.npy"], "--data2 .*no such file"),
        (["--out", "no/such/folder/k.zarr"], "no folder"),
    ],
)
def test_errors_say_what_is_wrong(here, capsys, words, match, quick):
    (here / "text.npy").write_text("not numbers")
    (here / "group.zarr").mkdir()
    usual = {"--model": "mymodels:net", "--data": "x.npy", "--out": "k.zarr"}
    usual[words[0]] = words[1]
    assert run(*(w for pair in usual.items() for w in pair)) == 1
    import re

    assert re.search(match, capsys.readouterr().err)
    assert not (here / "k.zarr").exists()


def test_another_kernel_in_the_store_is_an_error(here, capsys):
    assert begin() == 0
    assert begin(model="mymodels:other") == 1
    assert "holds another kernel" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--resume"], ["--verify"]])
def test_no_store_is_an_error(here, capsys, words):
    assert run(*words, "--out", "nothing.zarr") == 1
    assert "found nothing" in capsys.readouterr().err


def test_a_store_of_python_code_cannot_be_resumed_here(here, capsys):
    tt.scale.compute(tt.nn.Linear(5, 1), torch.randn(6, 5), store="k.zarr", progress=False)
    assert run("--resume", "--out", "k.zarr") == 1
    assert "its attributes lack model, folder, data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "--out"),
        (["--out", "k.zarr"], "expected --model and --data, or --resume, or --verify"),
        (["--out", "k.zarr", "--model", "mymodels:net"], "expected --data"),
        (["--out", "k.zarr", "--model", "mymodels", "--data", "x.npy"], "expected package.file:name"),
        (["--out", "k.zarr", "--model", "my models:net", "--data", "x.npy"], "expected package.file:name"),
        (["--out", "k.zarr", "--resume", "--verify"], "got both"),
        (["--out", "k.zarr", "--resume", "--model", "mymodels:net"], "expected no --model with --resume"),
        (["--out", "k.zarr", "--verify", "--tile", "4", "--append"], "expected no --tile, --append with --verify"),
        (["--out", "k.zarr", "--tile", "0"], "expected a positive whole number"),
        (["--out", "k.zarr", "--seconds", "-1"], "expected a positive number of seconds"),
        (["--out", "k.zarr", "--kinds", "cntk"], "invalid choice"),
        (["--out", "k.zarr", "--resume", "--scheduler", "tcp://a:1", "--processes", "2"], "got both"),
        (["--out", "k.zarr", "--resume", "--scheduler", "tcp://a:1", "--device", "cuda:0", "cuda:1"], "expected one --device"),
    ],
)
def test_wrong_usage_is_status_two(here, capsys, words, match):
    with pytest.raises(SystemExit) as stopped:
        run(*words)
    assert stopped.value.code == 2
    assert match in capsys.readouterr().err


def test_interrupted_is_status_130_and_says_how_to_go_on(here, monkeypatch, capsys):
    from torchtangents.scale import computing

    assert begin() == 0

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(computing, "compute", stopped)
    assert run("--resume", "--out", "k.zarr", "-q") == 130
    assert "torchtangents kernel --resume --out k.zarr continues" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["zarr", "distributed.client", "google_crc32c"])
def test_without_the_scale_extra_it_says_what_to_install(here, monkeypatch, capsys, missing):
    from torchtangents.scale import computing

    def lacking(*_, **__):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(computing, "compute", lacking)
    assert begin() == 1
    assert f'{missing}: pip install -c constraints.txt ".[scale]"' in capsys.readouterr().err


def test_other_missing_modules_are_not_hidden(here, monkeypatch):
    from torchtangents.scale import computing

    def lacking(*_, **__):
        raise ModuleNotFoundError("No module named 'torchtangents.gone'", name="torchtangents.gone")

    monkeypatch.setattr(computing, "compute", lacking)
    with pytest.raises(ModuleNotFoundError, match="gone"):
        begin()


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["--device", "cuda"], {"devices": "cuda", "processes": None}),
        (["--device", "cuda:0", "cuda:1"], {"devices": ["cuda:0", "cuda:1"], "processes": None}),
        (["--processes", "2"], {"devices": None, "processes": 2}),
    ],
)
def test_where_it_runs_is_passed_on(here, monkeypatch, words, given):
    from torchtangents.scale import computing

    calls = []
    monkeypatch.setattr(computing, "compute", lambda *a, **options: calls.append(options))
    assert begin(*words) == 0
    assert {name: calls[0][name] for name in given} == given
    assert calls[0]["progress"] is False


@pytest.mark.slow
def test_an_unknown_scheduler_is_an_error(here, monkeypatch, capsys):
    import distributed

    def never(*_, **__):
        raise OSError("Timed out trying to connect to tcp://127.0.0.1:1 after 10 s")

    monkeypatch.setattr(distributed, "Client", never)
    assert begin("--scheduler", "tcp://127.0.0.1:1") == 1
    assert "no answer in 10 seconds" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_of_a_cluster_get_the_code_of_the_model(here, elsewhere):
    """A scheduler and a worker in other processes, in another folder, which cannot import the model's file."""
    from distributed import LocalCluster

    (here / "away").mkdir()
    script = (
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=':0', host='127.0.0.1') as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n"
        "        input()\n"
    )
    del LocalCluster
    (here / "away" / "serve.py").write_text(script)
    options = {**elsewhere, "cwd": here / "away"}
    with subprocess.Popen(
        [sys.executable, "serve.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    ) as server:
        try:
            address = server.stdout.readline().strip()
            assert begin("--scheduler", address, model="mymodels:make") == 0
        finally:
            server.communicate("\n", timeout=60)
    torch.testing.assert_close(tt.scale.open("k.zarr").torch(), expected("make").ntk)
