"""The benchmarks' harness: networks, the protocol, agreement before timing. No peer's environment, and no time, is asserted."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import torchtangents as tt
from benchmarks import __main__ as command
from benchmarks import inputs, peers, plot, report, rules
from benchmarks.agreement import worst_error
from benchmarks.architectures import FLATTEN, GAP, cnn, conv, fully_connected, kinds, myrtle, two_pools, wide_resnet
from benchmarks.cases import ANALYTIC, SWEEP, Case, selected
from benchmarks.measure import Bench, Effort
from benchmarks.networks import build
from benchmarks.sides import Side, SideError
from benchmarks.worker import Worker, serve

CHAINS = {
    "fc": fully_connected(2),
    "gap": cnn(2, GAP),
    "flatten": cnn(2, FLATTEN),
    "two-pools": two_pools(),
    "myrtle": myrtle(5, 8),
}
NETS = CHAINS | {"resnet-1": wide_resnet(1, 8), "resnet-2": wide_resnet(2, 8)}
ONCE = Effort(repeats=2, budget=0.0)


def shape(name):
    return (7,) if name == "fc" else (3, 8, 8)


def fake(outputs=("nngp", "ntk"), factor=1.0, log=None, name="fake"):
    """A side that computes our kernels times a factor."""

    def prepare(net, x1, x2, wanted):
        def compute():
            if log is not None:
                log.append((name, len(x1)))
            return tuple(
                factor * k.numpy() for k in tt.kernels(build(net, x1.shape[1:]), torch.from_numpy(x1), torch.from_numpy(x2))
            )

        return compute

    return SimpleNamespace(
        OUTPUTS=outputs, prepare=prepare, versions=lambda: {"fake": "1"}, diagonal=peers.module(peers.OURS).diagonal
    )


class InProcess(Side):
    """The same requests and answers without a process."""

    def __init__(self, name, module, folder):
        self.name, self.folder, self.worker = name, folder, Worker(module)
        self.versions = self.ask("describe")["versions"]

    def ask(self, verb, **request):
        answer = json.loads(self.worker.reply(json.dumps({"do": verb, **request})))
        if "error" in answer:
            raise SideError(answer["error"])
        return answer

    def close(self):
        pass


@pytest.fixture
def bench(tmp_path):
    def make(log, factor=1.0):
        modules = {peers.OURS: fake(log=log, name="ours"), "torch": fake(log=log, factor=factor, name="theirs")}
        return Bench(ONCE, lambda name: InProcess(name, modules[name], tmp_path))

    return make


@pytest.mark.parametrize("name", NETS)
def test_networks_have_kernels(name):
    net = build(NETS[name], shape(name))
    x1, x2 = torch.randn(2, *shape(name)), torch.randn(3, *shape(name))
    assert net(x1).shape[0] == 2
    for k in tt.kernels(net, x1, x2):
        assert k.shape == (2, 3)
        assert k.isfinite().all()


@pytest.mark.parametrize("case", [*ANALYTIC, *SWEEP], ids=lambda case: case.name)
def test_cases_are_networks_that_their_peers_can_do(case):
    with torch.no_grad():
        assert build(case.net, case.shape)(torch.zeros(1, *case.shape)).shape == (1, 8)
    for peer in case.peers:
        assert peers.module(peer).can(case)


def test_every_peer_has_the_interface():
    for name in (peers.OURS, *peers.PEERS):
        module = peers.module(name)
        assert set(module.OUTPUTS) <= {"nngp", "ntk"}
        assert all(callable(getattr(module, verb)) for verb in ("can", "versions", "prepare"))


def test_a_strided_convolution_pads_the_end_as_neural_tangents_does():
    pad, layer = build((conv(2),), (3, 8, 8))[0]
    assert pad.padding == (0, 1, 0, 1)
    assert layer.padding == (0, 0)
    assert "residual" in kinds(wide_resnet(1))


@pytest.mark.parametrize("name", CHAINS)
def test_simple_torch_agrees_with_ours(name):
    x1, x2 = (torch.randn(n, *shape(name), dtype=torch.float64) for n in (2, 3))
    ours = tt.kernels(build(CHAINS[name], shape(name)), x1, x2)
    for a, b in zip(ours, rules.kernels(CHAINS[name], x1, x2), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["fc", "flatten"])
def test_the_torch_peer_agrees_with_ours(name, tmp_path):
    case = Case(name, CHAINS[name], shape(name), (2, 2), duplicates=0.5)
    ours, theirs = (InProcess(side, peers.module(side), tmp_path) for side in (peers.OURS, "torch"))
    assert worst_error(case, ours, theirs, ("nngp", "ntk")) < 1e-5


def test_inputs_repeat_and_hold_the_duplicates():
    case = Case("a", fully_connected(1), (7,), (20, 30), duplicates=0.1)
    (x1, x2), again = inputs.draw(case, case.ours), inputs.draw(case, case.ours)
    assert all(map(np.array_equal, (x1, x2), again))
    assert x1.dtype == np.float32
    assert (x1[:, None] == x2[None]).all(-1).sum() == 3


def test_requests_are_answered_line_by_line(tmp_path):
    x = np.eye(3, 7, dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    file, net = str(tmp_path / "x.npy"), fully_connected(1)
    requests = [
        {"do": "describe"}, {"do": "run"}, {"do": "dance"},
        {"do": "prepare", "net": net, "x1": file, "x2": file, "outputs": ["nngp", "ntk"]},
        {"do": "run"}, {"do": "save", "folder": str(tmp_path)},
    ]  # fmt: skip
    replies = io.StringIO()
    serve(fake(), io.StringIO("".join(json.dumps(r) + "\n" for r in requests)), replies)
    described, early, unknown, prepared, ran, saved = map(json.loads, replies.getvalue().splitlines())
    assert described == {"versions": {"fake": "1"}}
    assert "expected 'prepare'" in early["error"]
    assert "'dance'" in unknown["error"]
    assert prepared == {}
    assert set(ran) == {"seconds", "memory_mib"}
    expected = tt.kernels(build(net, (7,)), torch.from_numpy(x), torch.from_numpy(x))
    for name, k in zip(saved["files"], expected, strict=True):
        np.testing.assert_array_equal(np.load(name), k)


def test_a_process_answers_and_its_end_is_told():
    x1, x2 = (np.random.default_rng(0).standard_normal((n, 5), dtype=np.float32) for n in (3, 4))
    with Side("gemm") as side:
        assert side.versions["torch"] == torch.__version__
        side.prepare(fully_connected(1), x1, x2, ())
        assert side.run()["seconds"] > 0
        np.testing.assert_allclose(side.answer()[0], x1 @ x2.T, rtol=1e-5, atol=1e-5)
        with pytest.raises(SideError, match="FileNotFoundError"):
            side.ask("prepare", net=[], x1="none.npy", x2="none.npy", outputs=[])
        side.process.kill()
        with pytest.raises(SideError, match="died"):
            side.run()


def test_a_process_that_takes_too_long_is_ended():
    with pytest.raises(SideError, match="gave no answer in"):
        Side("gemm", limit=0.01)


def test_sides_that_agree_take_turns(bench):
    log = []
    with bench(log) as b:
        record = b.compare(Case("a", fully_connected(1), (7,), (6, 6), {"torch": (5, 5)}), "torch")
    assert record["status"] == "timed"
    assert record["error"] < 1e-5
    assert log[-6:] == [("ours", 6), ("theirs", 5)] * 3  # a first call, and two turns
    assert len(record["ours"]["seconds"]) == len(record["theirs"]["seconds"]) == 2
    assert "5x5" in report.row(record)


@pytest.mark.parametrize("factor", [1.001, float("nan")])
def test_sides_that_disagree_are_not_timed(bench, factor):
    log = []
    with bench(log, factor) as b:
        record = b.compare(Case("a", fully_connected(1), (7,), (6, 6), {"torch": (5, 5)}), "torch")
    assert record["status"] == "disagrees"
    assert "ours" not in record
    assert log == [("ours", 2), ("theirs", 2)]
    assert "disagrees" in report.row(record)


def test_a_peer_without_its_environment_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHTANGENTS_PEERS", str(tmp_path))
    with Bench(ONCE) as b:
        record = b.compare(next(case for case in ANALYTIC if case.name == "fc3"), "neural-tangents")
    assert record["status"] == "skipped"
    assert "python -m benchmarks.environments neural-tangents" in record["reason"]


def test_cases_are_selected_by_name():
    assert [case.name for case in selected("analytic", ["fc10", "fc3"], False, False)] == ["fc10", "fc3"]
    assert selected("analytic", None, True, False) == [*ANALYTIC, *SWEEP]
    assert all(max(case.ours) <= 250 for case in selected("analytic", None, True, True))
    with pytest.raises(ValueError, match="no case named fc4"):
        selected("analytic", ["fc4"], False, False)


def test_a_plot_needs_a_sweep(capsys):
    with pytest.raises(SystemExit):
        command.main(["--plot", "a.png"])
    assert "--sweep" in capsys.readouterr().err


def test_lines_of_a_plot():
    side = {"median_seconds": 2.0}
    records = [
        {"status": "timed", "peer": "torch", "sweep": ["inputs", n], "ours": side, "theirs": {"median_seconds": float(n)}}
        for n in (4, 2)
    ]
    assert plot.lines(records, "inputs", "median_seconds") == {peers.OURS: [(2, 2.0), (4, 2.0)], "torch": [(2, 2.0), (4, 4.0)]}
    assert plot.lines(records, "side", "median_seconds") == {}


def test_the_comparing_process_imports_neither_torch_nor_jax():
    code = "import benchmarks.__main__ as m, sys; from benchmarks import peers; [peers.module(n) for n in peers.PEERS]"
    check = "; assert not {'torch', 'jax', 'torchtangents'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code + check], cwd=Path(rules.__file__).parents[1], check=True)


@pytest.mark.slow
def test_a_whole_run(tmp_path, capsys):
    out = tmp_path / "out.json"
    assert command.main(["--case", "fc3-gemm-alone", "--quick", "--repeats", "1", "--budget", "0", "--out", str(out)]) == 0
    assert "fc3-gemm-alone" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["machine"]["cores"] > 0
    assert found["versions"]["torchtangents"]["torch"] == torch.__version__
    assert found["results"][0]["status"] == "timed"
