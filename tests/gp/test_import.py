"""The package imports GPyTorch where it is used, and not before."""

import subprocess
import sys

CODE = """
import sys, torchtangents as tt
assert not any(m.partition(".")[0] in ("gpytorch", "linear_operator", "botorch") for m in sys.modules)
assert tt.gp.InfiniteWidthKernel.__module__ == "torchtangents.gp.kernel"
assert "gpytorch" in sys.modules and "botorch" not in sys.modules
try:
    tt.nothing
except AttributeError as error:
    assert "has no attribute 'nothing'" in str(error)
else:
    raise AssertionError
"""


def test_lazily(elsewhere):
    subprocess.run([sys.executable, "-c", CODE], check=True, **elsewhere)
