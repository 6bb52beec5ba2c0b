"""The command line."""

import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from torchtangents import cli, native, show_config


@pytest.fixture
def demo(monkeypatch):
    """Stands in for the demo; calling it gives the arguments that arrived."""
    module, calls = ModuleType("torchtangents.demo"), []
    module.__dict__["run"] = lambda **options: calls.append(options)
    monkeypatch.setitem(sys.modules, "torchtangents.demo", module)
    return calls


def test_info_prints_versions_and_backends(capsys):
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    versions = (torch.__version__.split("+")[0], platform.python_version())
    for word in ("torchtangents", *versions, "gpytorch", "reference", "cuda", "threads"):
        assert word in printed


@pytest.mark.parametrize("built", [True, False])
def test_info_says_whether_the_extension_is_active(monkeypatch, built):
    monkeypatch.setattr(native, "_native", SimpleNamespace(instructions=lambda: ["some"]) if built else None)
    monkeypatch.setattr(native, "_missing", "not built: no C++ compiler")
    (line,) = [line for line in show_config().splitlines() if "  cpu " in line]
    assert ("active" in line) == built
    assert ("no C++ compiler" in line) != built


def test_a_prompt_shows_the_configuration_without_quotes():
    assert repr(show_config()) == str(show_config())


def test_runs_as_a_module(elsewhere):
    done = subprocess.run(
        [sys.executable, "-m", "torchtangents", "info"], capture_output=True, text=True, check=True, **elsewhere
    )
    assert "reference" in done.stdout


def test_demo_passes_its_options_on(demo):
    assert cli.main(["demo", "--out", "somewhere", "--only", "digits", "--quick"]) == 0
    assert demo == [{"out": Path("somewhere"), "only": "digits", "quick": True}]


def test_demo_runs_everything_by_default(demo):
    assert cli.main(["demo"]) == 0
    assert demo == [{"out": Path("torchtangents-demo"), "only": None, "quick": False}]


@pytest.mark.parametrize("missing", ["matplotlib.pyplot", "sklearn", "PIL"])
def test_demo_without_its_packages_says_what_to_install(demo, monkeypatch, capsys, missing):
    def run(**_):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(sys.modules["torchtangents.demo"], "run", run)
    assert cli.main(["demo"]) == 1
    assert f'{missing}: pip install -c constraints.txt ".[demo]"' in capsys.readouterr().err


def test_demo_does_not_hide_other_errors(demo, monkeypatch):
    def run(**_):
        raise ModuleNotFoundError("No module named 'torchtangents.gone'", name="torchtangents.gone")

    monkeypatch.setattr(sys.modules["torchtangents.demo"], "run", run)
    with pytest.raises(ModuleNotFoundError, match="gone"):
        cli.main(["demo"])


def test_no_command_is_an_error(capsys):
    assert cli.main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_unknown_part_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["demo", "--only", "nothing"])
    assert "ensemble" in capsys.readouterr().err
