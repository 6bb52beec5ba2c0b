"""Derivatives of E f(u) f(v): Price's theorem against differences, and against the way through the nodes."""

import pytest
import torch
import torch.nn.functional as F

from torchtangents.covariance import price
from torchtangents.covariance.pair import Pair
from torchtangents.covariance.quadrature import Quadrature

FUNCTIONS = {"tanh": torch.tanh, "softplus": F.softplus, "sin": torch.sin, "silu": F.silu}


def given():
    v1 = torch.tensor([[0.7], [1.3], [2.0]], dtype=torch.float64, requires_grad=True)
    v2 = torch.tensor([0.9, 1.3], dtype=torch.float64, requires_grad=True)
    q = (torch.tensor([[0.2, -0.6], [0.5, 1.1], [-0.9, 0.3]], dtype=torch.float64)).requires_grad_()
    return v1, v2, q


@pytest.mark.parametrize("part", ["nngp", "slope"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_both_orders(name, part):
    dual = Quadrature(FUNCTIONS[name], name=name)
    assert torch.autograd.gradcheck(lambda v1, v2, q: getattr(dual, part)(Pair(v1, v2, q)), given())
    assert torch.autograd.gradgradcheck(lambda v1, v2, q: getattr(dual, part)(Pair(v1, v2, q)), given())


@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_ways_agree(name, distance, monkeypatch):
    dual = Quadrature(FUNCTIONS[name], name=name)

    def gradients():
        v1, v2, q = given()
        pair = Pair(v1, v2, q, v1 + v2 - 2 * q if distance else None)
        weights = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(3, 2)
        return torch.autograd.grad((dual.nngp(pair) * weights).sum(), (v1, v2, q))

    wanted, calls = gradients(), []
    broken = price.derivative

    def overflows(f):
        calls.append(f)
        return (lambda x: x * float("nan")) if len(calls) % 3 == 0 else broken(f)  # every second derivative

    monkeypatch.setattr(price, "derivative", overflows)
    found = gradients()
    assert calls
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_a_second_derivative_that_overflows_far_out():
    gelu = Quadrature(lambda x: F.gelu(x, approximate="tanh"), name="gelu")
    v = torch.tensor([400.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(gelu.slope(Pair(v, v, 0.3 * v)), v)  # torch's third derivative of it is NaN from 40 on
    h = 1e-3
    low, high = (gelu.slope(Pair(w, w, 0.3 * w)) for w in (v.detach() - h, v.detach() + h))
    torch.testing.assert_close(slope, (high - low) / (2 * h), rtol=1e-4, atol=1e-9)
