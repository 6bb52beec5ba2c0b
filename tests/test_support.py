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
    assert all(len(row) == 5 for row in ROWS.values())


def test_what_it_says_of_some_layers():
    assert ROWS["ReLU"][1:4] == ["closed form", "one", "reference, cpu"]
    assert ROWS["Tanh"][1:4] == ["quadrature", "one", "reference, cpu (table)"]
    assert ROWS["Hardtanh"][1:4] == ["quadrature", "one", "reference"]
    assert ROWS["AvgPool2d"][2] == "several"
    assert ROWS["GlobalAvgPool"][2] == "all"
    assert "arXiv 1806.07572" in ROWS["Linear"][4]
    assert "w_std" in ROWS["Conv2d"][0]
    assert "padding_mode" in ROWS["Conv2d"][0]


@pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")
@pytest.mark.parametrize("name", sorted(k for k, row in ROWS.items() if row[1] == "closed form" and row[3].endswith("cpu")))
def test_the_compiled_code_takes_what_it_says(name):
    layer = getattr(tt.nn, name)
    arguments = [support._ARGUMENTS[k] for k, p in support._parameters(layer).items() if p.default is p.empty]
    starts = [(tt.nn.Conv2d(2, 4, 1), (5, 5)), (tt.nn.Conv1d(2, 4, 1), (5,)), (tt.nn.Linear(2, 4), ())]
    for start, size in starts[1:] if name.endswith("1d") else starts:
        net, x = torch.nn.Sequential(start, layer(*arguments)), torch.randn(2, 2, *size)
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
