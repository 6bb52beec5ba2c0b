"""The GPU script's own checks, on small cases, by Triton's interpreter."""

import pytest

pytest.importorskip("triton")

from benchmarks import gpu


@pytest.mark.slow
def test_small_cases_agree(capsys, tmp_path):
    assert gpu.main(["--check", "--out", str(tmp_path / "gpu.json")]) == 0
    assert capsys.readouterr().out.count("true") == len(gpu.SMALL)


def test_a_disagreement_fails(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "worst_error", lambda case, device: float("nan"))
    assert gpu.main(["--check"]) == 1
    assert "true" not in capsys.readouterr().out
