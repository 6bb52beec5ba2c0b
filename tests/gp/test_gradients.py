"""Derivatives by the hyperparameters, of every network of the table: against finite differences in float64."""

import pytest
import torch

import torchtangents as tt
from tests.cases import NETS, inputs
from torchtangents.nn.hyperparameters import hyperparameters, skeleton

KERNELS = ["nngp", "ntk"]


def as_function(name, verb):
    """The kernel of a network's inputs (2 of them) as a function of its hyperparameters, and where to differentiate it."""
    net, x = skeleton(NETS[name]()), inputs(name, 2)
    found = hyperparameters(net)
    at = [torch.tensor(float(h.value) + 0.05, dtype=torch.float64, requires_grad=True) for h in found]

    def kernel(*values):
        for h, value in zip(found, values, strict=True):
            h.assign(value)
        return getattr(tt, verb)(net, x)

    return kernel, at


FAMILY = (  # by the rule of hardtanh and relu6, which are always checked
    "hardswish",
    "hardsigmoid",
    "hardtanh-uneven",
    "softshrink",
    "elementwise-bent",
    "pooled-hardtanh",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] * any(f in n for f in FAMILY)) for n in NETS])
def test_first(name):
    kernel, at = as_function(name, "kernels")
    if at:  # gradients that are asked for in part are tests/engine/test_operator.py's
        assert torch.autograd.gradcheck(kernel, at, fast_mode=True, check_undefined_grad=False)


COMMON = [
    "fc-relu",
    "fc-leaky-relu",
    "fc-abrelu",
    "fc-erf",
    "fc-gelu",
    "fc-sin",
    "fc-rbf",
    "fc-tanh",
    "standard",
    "residual",
    "pre-norm",
]


@pytest.mark.slow
@pytest.mark.parametrize("verb", KERNELS)
@pytest.mark.parametrize("name", COMMON)
def test_second(name, verb):
    kernel, at = as_function(name, verb)
    assert torch.autograd.gradgradcheck(kernel, at, fast_mode=True)


@pytest.mark.parametrize("verb", KERNELS)
def test_equal_inputs_of_a_function_with_kinks(verb):
    kernel, at = as_function("fc-hardtanh", verb)
    assert torch.autograd.gradcheck(kernel, at, fast_mode=True)


@pytest.mark.parametrize("act", [tt.nn.Hardtanh, tt.nn.ReLU6, tt.nn.Hardswish, tt.nn.Softshrink])
def test_kinks_away_from_zero_on_the_diagonal(act):
    """Where the angle is 0 the terms of Owen's function have derivatives of 1e60 that cancel."""
    x = torch.tensor([[1.0, -0.6]], dtype=torch.float64)

    def own(w):
        return tt.kernels(torch.nn.Sequential(tt.nn.Linear(2, 8, w_std=w), act(), tt.nn.Linear(8, 1)), x)

    assert torch.autograd.gradcheck(lambda w: tuple(own(w)), (torch.tensor(1.7, dtype=torch.float64, requires_grad=True),))
