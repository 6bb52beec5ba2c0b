"""The benchmark of feature maps: its data, its exact side, and a small run."""

import json

import pytest
import torch

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import torchtangents as tt
from benchmarks import features as bench


def test_training_images_are_shifted_and_tests_are_not_among_them():
    data, again = bench.digits(1400), bench.digits(1400)
    assert data.x.shape == (1400, 64)
    assert data.x_test.shape == (500, 64)
    assert torch.equal(data.x, again.x)
    assert torch.equal(data.labels[:103], data.labels[1297:])  # every source a second time
    assert not torch.equal(data.x[:103], data.x[1297:])
    nearest = torch.cdist(data.x_test, data.x).amin(1)
    assert nearest.min() > 1  # of about 11, the length of an image


def test_the_exact_side_is_the_posterior_mean():
    data = bench.digits(60)
    y = torch.nn.functional.one_hot(data.labels, 10).float() - 0.1
    net = bench.network()
    wanted = tt.predict.Posterior(tt.ntk(net, data.x), y, diag_reg=bench.DIAG_REG).at(tt.ntk(net, data.x_test, data.x)).mean
    row = bench.exact(data, y)
    torch.testing.assert_close(row["_mean"].float(), wanted, rtol=0, atol=1e-4)
    assert row["seconds"] == pytest.approx(row["kernel_seconds"] + row["solve_seconds"])


@pytest.mark.slow
def test_a_small_run_writes_rows_and_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "QUICK", bench.Sizes((32, 64), 1, 16, 100, (32,)))
    bench.main(["--quick", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "features.json").read_text())
    assert len(found["errors"]) == 8
    assert [r["method"] for r in found["training"]] == ["exact", "random", "sketch", "nystrom"]
    assert found["training"][0]["rms_from_exact"] == 0
    assert (tmp_path / "features.png").stat().st_size > 10_000
    assert "| exact | all 100 points |" in capsys.readouterr().out
