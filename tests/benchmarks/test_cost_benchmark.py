"""The comparison of predicted and real cost: it runs, and judges."""

import pytest

pytest.importorskip("zarr", minversion="3")
from benchmarks import cost


def test_a_prediction_beside_a_run(tmp_path):
    record = cost.compare(cost.Case("tiny", cost.fully_connected, 40, (6,)), 0.2, tmp_path)
    assert record["predicted"]["tiles"] == record["real"]["tiles"] == 1
    assert record["predicted"]["store_bytes"] == record["real"]["store_bytes"]
    assert record["passes"] == (1 / 1.3 <= record["ratio"] <= 1.3)
    assert "tiny" in cost.row(record)
    assert list(tmp_path.iterdir()) == []


def test_larger_images_from_smaller_ones(tmp_path):
    record = cost.compare(cost.Case("larger", cost.convolutional, 20, (3, 8, 8), (3, 4, 4)), 0.2, tmp_path)
    assert record["judged"] == "compute_seconds"
    assert record["within"] == 2.0
    assert record["shape"] == (3, 8, 8)


def test_full_cases_are_those_of_the_guide():
    assert [(c.name, c.count) for c in cost.cases(False)][:2] == [("FC-3", 8000), ("CNN-5 Flatten", 1500)]
