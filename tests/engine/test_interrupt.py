"""Ctrl-C during a compiled call: KeyboardInterrupt, and a process that computes on as before."""

import signal
import subprocess
import sys

import pytest

from torchtangents import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")

CHILD = """
import threading, torch
import torchtangents as tt

torch.manual_seed(0)
n = tt.nn
layers = [layer for _ in range(20) for layer in (n.Conv2d(4, 4, 3, padding=1), n.ReLU())]
net = torch.nn.Sequential(n.Conv2d(3, 4, 3, padding=1), n.ReLU(), *layers, n.GlobalAvgPool(), n.Linear(4, 1))
small = torch.randn(3, 3, 4, 4)
before = tt.ntk(net, small, backend="cpu")
threading.Timer(1.0, lambda: print("running", flush=True)).start()
try:
    tt.ntk(net, torch.randn({inputs}, 3, {size}, {size}), backend="cpu", progress=False)
    print("was not interrupted")
except KeyboardInterrupt:
    print("interrupted")
print("same" if torch.equal(tt.ntk(net, small, backend="cpu"), before) else "differs")
"""


@pytest.mark.parametrize(("inputs", "size"), [(2000, 32), (2, 200)])
def test_ctrl_c_stops_a_call_and_leaves_the_process_usable(inputs, size, elsewhere):
    code = [sys.executable, "-c", CHILD.format(inputs=inputs, size=size)]
    child = subprocess.Popen(code, stdout=subprocess.PIPE, text=True, **elsewhere)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    assert out.split() == ["interrupted", "same"]
    assert child.returncode == 0
