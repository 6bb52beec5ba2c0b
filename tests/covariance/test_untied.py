"""Derivatives by each of v1, v2 and q on its own where inputs are equal or parallel: an angle has none there, a covariance has."""

import math

import pytest
import torch
import torch.nn.functional as F

import torchtangents as tt
from torchtangents.covariance import named
from torchtangents.covariance.exponential import Exp, ExpNormalized, Gabor, Gaussian
from torchtangents.covariance.kinked import ABReLU
from torchtangents.covariance.pair import Pair
from torchtangents.covariance.polynomial import Hermite
from torchtangents.covariance.quadrature import Quadrature
from torchtangents.covariance.rectified import RectifiedMonomial
from torchtangents.covariance.smooth import GELU, Erf, Sin

SMOOTH = {
    "erf": Erf(1.2, 0.8, 0.3),
    "gelu": GELU(),
    "sin": Sin(1.0, 0.7, 0.4),
    "exp": Exp(1.1, 0.4),
    "gaussian": Gaussian(1.2, -0.7),
    "gabor": Gabor(),
    "exp-normalized": ExpNormalized(1.3, -0.7),
    "hermite-3": Hermite(3),
    "tanh": Quadrature(torch.tanh, name="tanh"),
    "elu": named.elu(),  # its slope has no jump
    "softsign": Quadrature(F.softsign, (0.0,), "softsign"),
    "rectified-3": RectifiedMonomial(3),
}
KINKED = {
    "relu": ABReLU(0.0, 1.0),
    "rectified-2": RectifiedMonomial(2),  # the derivative of its slope has a jump of its own
    "elu-half": named.elu(0.5),
    "hardtanh": named.clamp(-1.0, 1.0, "hardtanh"),
    "relu6": named.clamp(0.0, 6.0, "relu6"),
    "hardswish": named.hardswish(),
    "softshrink": named.softshrink(0.4),
    "kinked": Quadrature(lambda x: torch.where(x > 0.3, x.sin(), 0.3 * (x - 0.3) + math.sin(0.3)), (0.3,), "kinked", kinked=True),
}
ALL = SMOOTH | KINKED
ROUGH = ("elu", "softsign", "rectified-3")  # a slope with a kink, so its expectation has a term in the root of v1 v2 - q^2


def places(carried):
    """Equal inputs, parallel ones, and a pair in general position; v1, v2, q and the pair they make."""
    v1 = torch.tensor([0.9, 0.9, 0.9], dtype=torch.float64, requires_grad=True)
    v2 = torch.tensor([0.9, 1.6, 1.6], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.9, 1.2, 0.5], dtype=torch.float64, requires_grad=True)
    return (v1, v2, q), Pair(v1, v2, q, v1 + v2 - 2 * q if carried else None)


def inward(f, parts, i, step):
    """The one-sided derivative by parts[i], into the cone v1 v2 >= q^2, from five values: (3,)."""
    sign = -1.0 if i == 2 else 1.0
    out = 0
    for k, weight in enumerate((-25 / 12, 4, -3, 4 / 3, -1 / 4)):
        moved = [t.detach() + sign * k * step * (j == i) for j, t in enumerate(parts)]
        out = out + weight * f(Pair(*moved))
    return sign * out / step


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_the_slope_is_the_derivative_by_q(name, carried):
    dual = ALL[name]
    parts, pair = places(carried)
    (found,) = torch.autograd.grad(dual.nngp(pair).sum(), parts[2])
    torch.testing.assert_close(found, dual.slope(Pair(*(t.detach() for t in parts))), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("part", ["nngp", "slope"])
@pytest.mark.parametrize("name", SMOOTH)
def test_each_derivative(name, part, carried):
    f = getattr(SMOOTH[name], part)
    parts, pair = places(carried)
    found = torch.autograd.grad(f(pair).sum(), parts)
    step, tolerance = (1e-6, 3e-3) if name in ROUGH else (1e-3, 1e-6)
    for i, one in enumerate(found):
        torch.testing.assert_close(one, inward(f, parts, i, step), rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("name", ["erf", "gelu", "gaussian", "gabor", "tanh"])
def test_second_derivatives(name):
    """By q twice at equal inputs, against the same a little apart."""
    dual, found = SMOOTH[name], []
    for gap in (0.0, 1e-5):
        q = torch.tensor(1.3 - gap, dtype=torch.float64, requires_grad=True)
        v = torch.tensor(1.3, dtype=torch.float64)
        (first,) = torch.autograd.grad(dual.nngp(Pair(v, v, q)), q, create_graph=True)
        found.append(torch.autograd.grad(first, q)[0].item())
    assert found[0] == pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("act", [tt.nn.Erf, torch.nn.GELU, torch.nn.ELU, torch.nn.Softsign, torch.nn.Hardtanh, torch.nn.Tanh])
def test_a_network_from_given_covariances(act):
    """Two layers: the squared distance is carried to the second."""
    net = torch.nn.Sequential(tt.nn.Linear(3, 8, w_std=1.3), act(), tt.nn.Linear(8, 8, w_std=1.3), act())
    v = torch.tensor([1.1], dtype=torch.float64)
    slopes = []
    for gap in (0.0, 1e-4, 2e-4):
        q = torch.tensor([[1.1 - gap]], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(tt.propagate(net, q, v, v.clone()).nngp.sum(), q)
        slopes.append(slope.item())
    roughly = 0.03 if act is torch.nn.Hardtanh else 1e-4  # its derivative falls with the root of the gap
    assert slopes[0] == pytest.approx(2 * slopes[1] - slopes[2], rel=roughly)


def test_no_gradient_costs_nothing():
    """The value is that of a pair without derivatives, bit for bit."""
    for dual in ALL.values():
        parts, pair = places(False)
        assert torch.equal(dual.nngp(pair), dual.nngp(Pair(*(t.detach() for t in parts))))
