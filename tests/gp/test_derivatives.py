"""Derivatives by every hyperparameter, of every network of the table, against finite differences in float64."""

import pytest
import torch

import torchtangents as tt
from tests.cases import NETS, inputs
from torchtangents.nn.hyperparameters import hyperparameters, skeleton

QUICK = {
    f"fc-{name}" for name in ("relu", "leaky-relu", "abs", "erf", "gelu", "sin", "cos", "rbf", "gaussian", "exp", "monomial-2")
}
QUICK |= {"stride-3", "valid-5x3", "standard", "flatten-relu", "dropout", "positions", "fc-rectified-2"}
TWICE = [f"fc-{name}" for name in ("relu", "leaky-relu", "abs", "erf", "gelu", "sin", "cos", "rbf", "gaussian")]
TWICE += ["stride-3", "valid-5x3", "standard"]
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETS]


def kernels_of(name):
    """Both kernels as functions of the hyperparameters, and their values a little off the network's own."""
    net, x = skeleton(NETS[name]()), inputs(name, 2)
    found = hyperparameters(net)
    values = [torch.tensor(float(h.value) + 0.05, dtype=torch.float64, requires_grad=True) for h in found]

    def compute(*given):
        for h, value in zip(found, given, strict=True):
            h.assign(value)
        return tuple(tt.kernels(net, x))

    return compute, values


@pytest.mark.parametrize("name", ALL)
def test_first_derivatives(name):
    compute, values = kernels_of(name)
    if values:
        assert torch.autograd.gradcheck(compute, values, fast_mode=True)


@pytest.mark.parametrize("name", TWICE)
def test_second_derivatives(name):
    compute, values = kernels_of(name)
    assert torch.autograd.gradgradcheck(compute, values, fast_mode=True)


@pytest.mark.parametrize("act", [tt.nn.Hardtanh, tt.nn.ReLU6, tt.nn.Hardswish, tt.nn.Softshrink])
def test_kinks_away_from_zero_on_the_diagonal(act):
    """Where the angle is 0 the terms of Owen's function have derivatives of 1e60 that cancel."""
    x = torch.tensor([[1.0, -0.6]], dtype=torch.float64)

    def own(w):
        return tt.kernels(torch.nn.Sequential(tt.nn.Linear(2, 8, w_std=w), act(), tt.nn.Linear(8, 1)), x)

    assert torch.autograd.gradcheck(lambda w: tuple(own(w)), (torch.tensor(1.7, dtype=torch.float64, requires_grad=True),))
