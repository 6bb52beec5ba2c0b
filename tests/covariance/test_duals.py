"""Every dual: against quadrature, and the closed identity d E f f' / d q = E f' f'."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchtangents.covariance.bent import bow
from torchtangents.covariance.dual import add
from torchtangents.covariance.kinked import ABReLU, Sign
from torchtangents.covariance.named import by_quadrature
from torchtangents.covariance.pair import Pair
from torchtangents.covariance.quadrature import Quadrature
from torchtangents.covariance.smooth import GELU, RBF, Erf, Sin

from ..tolerances import EXACT, QUADRATURE

F = torch.nn.functional
CLOSED = {
    "relu": ABReLU(0.0, 1.0),
    "leaky": ABReLU(0.2, 1.0),
    "abs": ABReLU(-1.0, 1.0),
    "abrelu": ABReLU(-0.4, 1.3),
    "identity": ABReLU(1.0, 1.0),
    "sign": Sign(),
    "erf": Erf(1.2, 0.7, 0.3),
    "gelu": GELU(),
    "sin": Sin(1.1, 0.9, 0.4),
    "rbf": RBF(0.6),
}
NUMERIC = {
    "tanh": by_quadrature(torch.tanh, (), "tanh"),
    "silu": by_quadrature(F.silu, (), "silu"),
    "softplus": by_quadrature(F.softplus, (), "softplus"),
    "elu": by_quadrature(F.elu, (0.0,), "elu"),
    "hardtanh": by_quadrature(F.hardtanh, (-1.0, 1.0), "hardtanh"),
}


def pairs(correlation=(0.3, -0.8, 0.99, 1.0, -1.0, 0.999999, 0.0, 0.5, -0.9)):
    v1 = torch.tensor([1.0, 0.3, 4.0, 1.0, 1.0, 2.0, 1.0, 9.0, 1e-4], dtype=torch.float64)
    v2 = torch.tensor([2.0, 1.0, 4.0, 1.0, 1.0, 2.0, 1.0, 0.1, 1.0], dtype=torch.float64)
    return v1, v2, torch.tensor(correlation, dtype=torch.float64) * (v1 * v2).sqrt()


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_match_quadrature(name):
    dual, pair = CLOSED[name], Pair(*pairs())
    numeric = Quadrature(dual.function, dual.breakpoints, name)
    assert float((dual.nngp(pair) - numeric.nngp(pair)).abs().max()) < QUADRATURE
    assert float((dual.slope(pair) - numeric.slope(pair)).abs().max()) < QUADRATURE
    assert float((dual.mean(pair.v1) - numeric.mean(pair.v1)).abs().max()) < QUADRATURE
    if name not in ("sign", "rbf", "sin"):
        assert float((dual.gain(pair) - super(type(dual), dual).gain(pair)).abs().max()) < QUADRATURE


@pytest.mark.parametrize("name", [k for k in (*CLOSED, *NUMERIC) if k != "sign"])
def test_slope_is_the_derivative_by_covariance(name):
    v1, v2, q = pairs((0.3, -0.8, 0.9, 0.6, -0.5, 0.2, 0.0, 0.5, -0.9))
    q.requires_grad_()
    dual = (CLOSED | NUMERIC)[name]
    (grad,) = torch.autograd.grad(dual.nngp(Pair(v1, v2, q)).sum(), q)
    tolerance = 1e-10 if name in CLOSED else QUADRATURE
    assert float((grad - dual.slope(Pair(v1, v2, q))).detach().abs().max()) < tolerance


@pytest.mark.parametrize("name", CLOSED)
def test_distance_is_what_it_says(name):
    v1, v2, q = pairs()
    dual, pair = CLOSED[name], Pair(v1, v2, q, (v1 + v2 - 2 * q).clamp_min(0))
    out1, out2 = (dual.nngp(Pair.equal(v)) for v in (v1, v2))
    expected = out1 + out2 - 2 * dual.nngp(Pair(v1, v2, q))
    assert float((dual.distance(pair, out1, out2) - expected).abs().max()) < 1e-7 * float(out1.max())


@pytest.mark.parametrize("name", [*CLOSED, *NUMERIC])
def test_equal_inputs_are_the_variance(name):
    dual = (CLOSED | NUMERIC)[name]
    v = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    z = torch.linspace(-9, 9, 200001, dtype=torch.float64)
    w = torch.exp(-z * z / 2)
    w = w / w.sum()
    moments = (dual.function(v.sqrt()[:, None] * z) ** 2 * w).sum(-1)
    torch.testing.assert_close(dual.nngp(Pair.equal(v)), moments, rtol=3e-6 if name == "sign" else 1e-8, atol=1e-9)


def test_sums_of_functions():
    pair = Pair(*pairs())
    both = add([(1.0, ABReLU(1.0, 1.0)), (0.5, ABReLU(0.0, 1.0))])
    assert isinstance(both, ABReLU)
    torch.testing.assert_close(both.nngp(pair), ABReLU(1.0, 1.5).nngp(pair))
    mixed = add([(1.0, ABReLU(1.0, 1.0)), (2.0, Erf())])
    assert mixed.kinked is False
    torch.testing.assert_close(mixed.mean(pair.v1), torch.zeros_like(pair.v1), atol=1e-9, rtol=0)


def test_missing_breakpoints_are_refused():
    with pytest.raises(ValueError, match=r"kinky.*breakpoints"):
        Quadrature(lambda x: (x - 0.3).abs(), (), "kinky").nngp(Pair(*pairs()))


def test_bow_near_zero():
    theta = torch.logspace(-12, 0, 60, dtype=torch.float64)
    one = torch.ones_like(theta)
    exact = torch.tensor([float(_chord(float(t))) for t in theta], dtype=torch.float64)
    found = bow(Pair(one, one, theta.cos(), (2 * torch.sin(theta / 2)) ** 2))
    torch.testing.assert_close(found, exact, rtol=EXACT, atol=0)


def _chord(theta):
    import mpmath

    mpmath.mp.dps = 60
    t = mpmath.mpf(theta)
    return mpmath.sin(t) - t * mpmath.cos(t)


SLOPES = st.floats(-2, 2).filter(lambda a: a == 0 or abs(a) > 1e-6)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), st.floats(-1, 1), SLOPES, SLOPES)
def test_piecewise_linear_moments_respect_cauchy_schwarz(v1, v2, r, a, b):
    x, y = torch.tensor([v1, v2], dtype=torch.float64)
    dual = ABReLU(a, b)
    k = dual.nngp(Pair(x, y, r * (x * y).sqrt()))
    bound = (dual.nngp(Pair.equal(x)) * dual.nngp(Pair.equal(y))).sqrt()
    assert abs(float(k)) <= float(bound) * (1 + 1e-7) + 1e-200
