"""The comparison on tables: its splits, its choices, its classifiers on a small part of the data."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
import torchtangents as tt
from benchmarks import tabular


@pytest.mark.parametrize("name", tabular.DATA)
def test_splits_are_stratified_repeatable_and_leave_a_test_part(name):
    x, _, y, y_test = tabular.parts(name, 0)
    assert len(y) + len(y_test) == len(tabular.DATA[name]().target)
    assert len(y) == min(tabular.MOST, len(y) + len(y_test) - (len(y) + len(y_test)) // 5)
    shares = np.bincount(y) / len(y) - np.bincount(y_test) / len(y_test)
    assert np.abs(shares).max() < 0.03
    assert np.array_equal(x, tabular.parts(name, 0)[0])
    assert not np.array_equal(x, tabular.parts(name, 1)[0])


@pytest.mark.parametrize("model", tabular.models())
def test_every_classifier_is_far_better_than_chance(model):
    maker, choices = tabular.models((1,))[model]
    few = {name: list(values)[2:4] or list(values)[:2] for name, values in choices.items()}
    few |= {"net": choices["net"]} if "net" in choices else {}
    assert tabular.accuracy("iris", 0, maker, few, most=60) > 0.85


def test_networks_have_the_depth_asked_for():
    x = torch.randn(3, 4)
    for depth in tabular.DEPTHS:
        net = tabular.network(depth)
        assert sum(isinstance(layer, torch.nn.ReLU) for layer in net) == depth
        assert tt.ntk(net, x).shape == (3, 3)


def test_gpytorchs_classifier_names_its_labels():
    x = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (10, 2)) for c in (-1, 1)])
    labels = np.array(["left"] * 10 + ["right"] * 10)
    assert (tabular.DirichletProcess().fit(x, labels).predict(x + 0.01) == labels).all()


def test_the_table_has_means_and_standard_errors():
    found = {"NTK": {"a": [0.9, 1.0], "b": [0.5, 0.5]}}
    assert tabular.table(found).splitlines()[-1] == "| NTK | 95.0 ± 5.0 | 50.0 ± 0.0 | 72.5 |"


def test_the_command_writes_both_files_and_refuses_one_split(tmp_path, monkeypatch):
    makers = {"SVM, RBF": (tabular.models()["SVM, RBF"][0], {})}
    monkeypatch.setattr(tabular, "models", lambda: makers)
    tabular.main(["--splits", "2", "--only", "iris", "wine", "--out", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["command"] == "python -m benchmarks.tabular --splits 2 --only iris wine"
    assert min(record["accuracy"]["SVM, RBF"]["wine"]) > 0.85
    assert "| SVM, RBF |" in (tmp_path / "out.md").read_text()
    with pytest.raises(SystemExit, match="at least 2"):
        tabular.main(["--splits", "1"])
