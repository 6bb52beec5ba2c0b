"""Settings of every test: one seed, long draws only when asked for, and a line that says what is tested."""

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton: its kernels run on the CPU

import pytest
import torch

import torchtangents
from torchtangents import native

if not os.environ.get("TORCHTANGENTS_LONG"):  # whether each sum of whole numbers overflows: a quarter of the interpreter's time
    with suppress(ImportError, AttributeError, TypeError):  # no triton, or one without this option
        from triton.runtime.interpreter import interpreter_builder

        interpreter_builder.options = dataclasses.replace(interpreter_builder.options, sanitize_overflow=False)

torch.set_num_threads(1)  # small tensors: a second thread costs more than it brings, ten times so on busy cores


def pytest_report_header():
    code = "with the compiled extension" if native.available() else native.why_not()
    return f"torchtangents: {Path(torchtangents.__file__).parent}, {code}"


def pytest_collection_modifyitems(items):
    if not os.environ.get("TORCHTANGENTS_LONG"):
        skip = pytest.mark.skip(reason="long draw: set TORCHTANGENTS_LONG=1, or run .ci/long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def elsewhere(tmp_path):
    """Where a child process imports the package under test, not a source tree in the working directory."""
    return {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(Path(torchtangents.__file__).parents[1])}}
