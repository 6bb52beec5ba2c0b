"""Digests tell what is computed: equal in every process for equal models, different for different ones."""

import functools
import subprocess
import sys

import pytest
import torch

import torchtangents as tt
from tests.scale.conftest import convolutional, finite, fully_connected, smooth
from torchtangents.graph.program import record
from torchtangents.scale.fingerprint import function_digest, program_digests

X = torch.ones(2, 5)
NETS = {
    "fc": fully_connected, "w_std": lambda: fully_connected(1.25), "tensor": lambda: fully_connected(torch.tensor(1.25)),
    "smooth": smooth, "erf": lambda: torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.Erf(), tt.nn.Linear(8, 1)),
    "erf b": lambda: torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.Erf(b=2.0), tt.nn.Linear(8, 1)),
    "own": lambda: torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.Elementwise(lambda x: x**2), tt.nn.Linear(8, 1)),
    "own 3": lambda: torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.Elementwise(lambda x: x**3), tt.nn.Linear(8, 1)),
    "standard": lambda: torch.nn.Sequential(tt.nn.Linear(5, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1, parameterization="standard")),
    "wider": lambda: torch.nn.Sequential(tt.nn.Linear(5, 9), torch.nn.ReLU(), tt.nn.Linear(9, 1, parameterization="standard")),
}  # fmt: skip


def digests(net, x=X):
    with torch.no_grad():
        return [d for _, _, d in program_digests(record(net, (x,)))]


def test_equal_models_agree_whatever_their_weights():
    for make in NETS.values():
        assert digests(make()) == digests(make())
    net, x = convolutional(), torch.ones(2, 2, 6, 6)
    first = digests(net, x)
    tt.ntk(net, torch.randn(3, 2, 6, 6))  # what a computation keeps does not count
    assert digests(net, x) == first


def test_different_models_differ():
    found = {name: tuple(digests(make())) for name, make in NETS.items()}
    found.pop("tensor")
    assert len(set(found.values())) == len(found)


def test_functions():
    def kernel(scale):
        return lambda x1, x2: scale * x1 @ x2.T

    base = function_digest(functools.partial(tt.empirical.ntk, finite()))
    other = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    assert function_digest(functools.partial(tt.empirical.ntk, finite())) == base
    different = [
        function_digest(functools.partial(tt.empirical.ntk, other)),
        function_digest(functools.partial(tt.empirical.nngp, finite())),
        function_digest(functools.partial(tt.empirical.ntk, finite(), trace_axes=())),
        function_digest(kernel(1.0)), function_digest(kernel(2.0)), function_digest(lambda x1, x2: x1 @ x2.T),
    ]  # fmt: skip
    assert len({base, *different}) == 1 + len(different)
    assert function_digest(kernel(1.0)) == function_digest(kernel(1.0))


def test_a_weight_that_is_frozen_is_another_kernel():
    net = torch.nn.Linear(5, 1)
    before = function_digest(functools.partial(tt.empirical.ntk, net))
    net.weight.requires_grad_(False)
    assert function_digest(functools.partial(tt.empirical.ntk, net)) != before


def test_what_holds_itself():
    def kernel(x1, x2):
        return kernel.held

    kernel.held = [kernel]
    loop: list = [1]
    loop.append(loop)
    assert function_digest(functools.partial(kernel, loop)) == function_digest(functools.partial(kernel, loop))


SCRIPT = """
import functools, torch, torchtangents as tt
from torchtangents.graph.program import record
from torchtangents.scale.fingerprint import function_digest, program_digests
def kernel(x1, x2, power):
    return (x1 @ x2.T) ** power if power in {2, 3, "a", "b"} else sum(len(w) for w in ("c", "d"))
torch.manual_seed(0)
net = torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.Elementwise(lambda x: x * x if x is not None else (1, 2)), tt.nn.Linear(8, 1))
finite = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh())
print(program_digests(record(net, (torch.ones(2, 5),))), function_digest(functools.partial(kernel, power=2)))
print(function_digest(functools.partial(tt.empirical.ntk, finite)))
"""


def test_processes_agree(elsewhere, capsys):
    env = {**elsewhere["env"], "PYTHONHASHSEED": "1"}
    there = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=elsewhere["cwd"], env=env
    )
    exec(SCRIPT, {"__name__": "__main__"})
    assert capsys.readouterr().out == there.stdout


@pytest.mark.parametrize("change", ["code", "state"])
def test_own_modules(change):
    def make(power, scale):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = scale

            if power == 2:

                def forward(self, x):
                    return self.scale * x**2

            else:

                def forward(self, x):
                    return self.scale * x**3

        return functools.partial(tt.empirical.nngp, Net())

    assert function_digest(make(2, 1.0)) == function_digest(make(2, 1.0))
    assert function_digest(make(2, 1.0)) != function_digest(make(3, 1.0) if change == "code" else make(2, 2.0))
