"""The table of layers in the documentation is what the code gives, and what it says is so."""

from pathlib import Path

import pytest
import torch

import torchtangents as tt
from torchtangents import native, support

PAGE = Path(__file__).parents[1] / "docs" / "support.md"
ROWS = {
    row.split("|")[1].strip(" `"): [c.strip() for c in row.split("|")[2:-1]]
    for row in support.table().splitlines()
    if row[:3] == "| `"
}


def test_the_page_is_what_the_code_writes():
    assert PAGE.read_text(encoding="utf-8") == support.table(), "run python -m torchtangents.support docs/support.md"


def test_every_registered_layer_has_a_row():
    assert set(ROWS) == set(tt.nn.__all__)
    assert all(len(row) == 6 for row in ROWS.values())


def test_what_it_says_of_some_layers():
    assert ROWS["ReLU"][1:5] == ["closed form", "yes", "one", "reference, cpu"]
    assert ROWS["Tanh"][1:5] == ["quadrature", "yes", "one", "reference, cpu (table)"]
    assert ROWS["Hardtanh"][1:5] == ["closed form", "yes", "one", "reference"]
    assert ROWS["AvgPool2d"][3] == "several"
    assert ROWS["GlobalAvgPool"][3] == "all"
    assert ROWS["AdaptiveAvgPool2d"][2] == "no"
    assert "arXiv 1806.07572" in ROWS["Linear"][5]
    assert "w_std" in ROWS["Conv2d"][0]
    assert "padding_mode" in ROWS["Conv2d"][0]


@pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")
@pytest.mark.parametrize("name", sorted(k for k, row in ROWS.items() if row[1] == "closed form" and row[4].endswith("cpu")))
def test_the_compiled_code_takes_what_it_says(name):
    layer = getattr(tt.nn, name)
    starts = [(tt.nn.Conv2d(2, 4, 1), (5, 5)), (tt.nn.Conv1d(2, 4, 1), (5,)), (tt.nn.Linear(2, 4), ())]
    for start, size in starts[2:] if "Linear" in name else starts[1:] if name.endswith("1d") else starts:
        net, x = torch.nn.Sequential(start, support._instance(layer)), torch.randn(2, 2, *size)
        try:
            shape = net(x).shape
        except (RuntimeError, ValueError):
            continue
        break
    if name == "Flatten":
        net.append(tt.nn.Linear(shape[1], 1))
    assert torch.isfinite(tt.ntk(net, x, backend="cpu")).all()


def test_the_page_is_written(tmp_path, monkeypatch):
    import runpy
    import sys

    monkeypatch.setattr(sys, "argv", ["support", str(tmp_path / "page.md")])
    monkeypatch.delitem(sys.modules, "torchtangents.support")
    runpy.run_module("torchtangents.support", run_name="__main__")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == support.table()
