"""The example runs, and its three ways of training agree as far as they should."""

import importlib.util
import itertools
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
PATH = Path(__file__).parents[2] / "examples" / "linearised_resnet.py"


@pytest.mark.slow
def test_quick_run(capsys):
    spec = importlib.util.spec_from_file_location("linearised_resnet", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    rows = example.main(["--quick"])
    printed = capsys.readouterr().out
    assert "A ResNet of 2,554 parameters" in printed
    assert printed.count("\n") == 4 + len(rows)
    start, *_, end = rows
    assert start.linear_to_flow < 1e-12
    assert start.network_to_linear < 1e-12
    for r in rows:
        assert r.linear_to_flow < 1e-2  # the step size of the linearised network
        assert r.network_to_linear < 0.2
    assert abs(end.linear / end.flow - 1) < 0.01
    assert end.network_to_linear > 5 * end.linear_to_flow
    assert all(b.flow < a.flow for a, b in itertools.pairwise(rows))
    assert end.network < 0.6 * start.network
