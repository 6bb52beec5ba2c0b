"""Every kernel compiles for an A100 and an H100 or H200; hardly any value spills."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import torchtangents

pytest.importorskip("triton")
_SPILLED = 64  # bytes a thread, in double precision
# Of kernels held to 128 registers: sixteen warps on a multiprocessor are worth more.
_CAPPED = {"run-halved": 32, "run-spread": 64, "run-spread-odd": 64}


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "part"), [("80", "0/1"), ("90", "0/2"), ("90", "1/2")])
def test_kernels_compile_without_spills(capability, part, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(torchtangents.__file__).parents[1])}
    script = Path(__file__).with_name("compile.py")
    said = subprocess.run([sys.executable, script, capability, part], capture_output=True, text=True, env=environment)
    assert said.returncode == 0, said.stderr
    found = [json.loads(line) for line in said.stdout.splitlines()]
    assert len({(f["name"], f["wide"]) for f in found}) == len(found) > 20
    assert all(f["bytes"] > 1000 for f in found)
    assert not [f for f in found if f["local"] > _CAPPED.get(f["name"], _SPILLED * f["wide"]) or f["registers"] > 255]
