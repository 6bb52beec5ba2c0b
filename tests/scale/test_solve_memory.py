"""Peak memory, in a process of its own: Cholesky holds one matrix, conjugate gradients and predictions a few tiles."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np, torch
from torchtangents.scale.solve import solve

class Laplace:
    "exp(-|x - z|), and a ridge where they are equal: computed where it is read, so nothing else takes memory."
    dtype = np.dtype("f8")

    def __init__(self, x, z):
        self.x, self.z, self.shape = x, z, (len(x), len(z))

    def __getitem__(self, index):
        x, z = self.x[index[0], None], self.z[index[1]]
        return np.exp(-np.abs(x - z)) + 0.1 * (x == z)

def peak():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

torch.set_num_threads(1)
method, points = sys.argv[1], int(sys.argv[2])
options = {"diag_reg": 1.0, "tile": 250, "method": method}
if method == "cg":
    options |= {"memory": 1, "preconditioner_rank": 10}

def run(n):
    x = np.linspace(0, n / 30, n)
    solution = solve(Laplace(x, x), torch.from_numpy(np.sin(x)), **options)
    solved = peak()
    solution.predict(Laplace(np.linspace(0, n / 30, 3 * n), x), rows=250)
    return solved, peak(), solution.residuals.max().item()

run(500)  # what libraries take once
before = peak()
solved, predicted, residual = run(points)
print(solved - before, predicted - solved, residual)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "points", "most"), [("cholesky", 3000, 1.25), ("cg", 3000, 0.2)])
def test_peak(method, points, most, elsewhere):
    """In units of the float64 matrix, 69 MiB; a copy of it would take 2."""
    command = [sys.executable, "-c", PROGRAM, method, str(points)]
    run = subprocess.run(command, capture_output=True, text=True, **elsewhere)
    assert run.returncode == 0, run.stderr
    solving, predicting, residual = map(float, run.stdout.split())
    matrix = 8 * points**2 / 2**20
    assert residual < 1e-6
    assert solving < most * matrix
    assert predicting < 0.2 * matrix
    if method == "cholesky":
        assert solving > 0.9 * matrix  # that this measures anything
