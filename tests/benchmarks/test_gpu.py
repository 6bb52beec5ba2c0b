"""The GPU script's own checks, on small cases, by Triton's interpreter."""

import dataclasses

import pytest

pytest.importorskip("triton")

import torch

import torchtangents as tt
from benchmarks import gpu, gpu_peers, gpu_promise, plain
from benchmarks.networks import build


@pytest.mark.slow
def test_small_cases_agree(capsys, tmp_path):
    assert gpu.main(["--check", "--out", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out.count("true") == len(gpu.SMALL)


def test_a_disagreement_fails(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "worst_error", lambda case, device: float("nan"))
    assert gpu.main(["--check"]) == 1
    assert "true" not in capsys.readouterr().out


@pytest.mark.parametrize("case", gpu.SMALL[1:], ids=lambda case: case.name)
def test_plain_rules_are_those_of_the_library(case):
    x1, x2 = (torch.randn(n, *case.shape, dtype=torch.float64) for n in (2, 3))
    exact = tt.kernels(build(case.net, case.shape), x1, x2, progress=False)
    for mine, theirs in zip(plain.kernels(case.net, x1, x2), exact, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_peers_are_timed():
    case = gpu.SMALL[2]
    found = gpu_peers.compared(case.net, case.shape, torch.device("cpu"), 1.0, {"eager": 3, "compiled": 3}, "aot_eager")
    assert all(peer["times_ours"] == peer["ms_per_entry"] > 0 for peer in found.values()), found


def test_a_peer_that_fails_says_why(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("no room")

    monkeypatch.setattr(gpu_peers, "_timed", fails)
    case = gpu.SMALL[2]
    found = gpu_peers.compared(case.net, case.shape, torch.device("cpu"), 1.0, {"eager": 3, "compiled": 3}, "eager")
    assert all(peer["failed"] == "RuntimeError: no room" for peer in found.values())


CLAUSES = [
    c
    for c in gpu_promise.clauses()
    if c.name in ("inputs of 1e-15, b_std 0.0", "flat ground, depth 20, Flatten", "Erf, depth 20")
]


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.name)
def test_a_clause_of_the_promise(clause):
    found = gpu_promise.kept(clause, torch.device("cpu"))
    assert found["agrees"]
    assert 0 < found["error"] < clause.promise


def test_a_clause_that_is_not_kept():
    strict = dataclasses.replace(CLAUSES[0], promise=1e-12)
    assert not gpu_promise.kept(strict, torch.device("cpu"))["agrees"]


def test_a_promise_that_is_not_kept_fails(monkeypatch):
    monkeypatch.setattr(gpu_promise, "promised", lambda device: {"a clause": {"agrees": False}})
    monkeypatch.setattr(gpu, "CASES", ())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "none")
    monkeypatch.setattr(gpu, "ceilings", dict)
    assert gpu.main(["--no-peers"]) == 1
