"""Closed forms and one-dimensional integrals: against quadrature in two dimensions, mpmath and scipy, and the closed identity."""

import math

import mpmath
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from torchtangents.covariance import named
from torchtangents.covariance.exponential import Exp, ExpNormalized, Gabor, Gaussian
from torchtangents.covariance.exponential_linear import ExponentialLinear
from torchtangents.covariance.given import Given
from torchtangents.covariance.pair import Pair
from torchtangents.covariance.polynomial import Hermite, Polynomial
from torchtangents.covariance.quadrant import Quadrant, owen
from torchtangents.covariance.quadrature import Quadrature
from torchtangents.covariance.rectified import RectifiedMonomial
from torchtangents.covariance.spline import Spline

from ..tolerances import EXACT, QUADRATURE

pytestmark = pytest.mark.slow

DUALS = {
    "exp": Exp(1.1, 0.4),
    "gaussian": Gaussian(1.2, -0.7),
    "gaussian-wide": Gaussian(1.2, 0.005),
    "gabor": Gabor(),
    "polynomial": Polynomial((0.3, -0.5, 0.2, 0.1)),
    "polynomial-tensor": Polynomial(torch.tensor([0.3, -0.5, 0.2, 0.1], dtype=torch.float64)),
    "monomial-0": Polynomial((1.0,)),
    "monomial-3": Polynomial((0.0, 0.0, 0.0, 1.0)),
    "hermite-3": Hermite(3),
    "hermite-2": Hermite(2),
    "rectified-0": RectifiedMonomial(0),
    "rectified-2": RectifiedMonomial(2),
    "rectified-3": RectifiedMonomial(3),
    "elu": named.elu(),
    "elu-half": named.elu(0.5),
    "selu": named.selu(),
    "celu": named.celu(2.0),
    "hardtanh": named.clamp(-1.0, 1.0, "hardtanh"),
    "hardtanh-off": named.clamp(0.4, 1.3, "hardtanh"),
    "clamp-min": named.clamp(-0.5, None, "clamp"),
    "relu6": named.clamp(0.0, 6.0, "relu6"),
    "hardswish": named.hardswish(),
    "hardsigmoid": named.hardsigmoid(),
    "softshrink": named.softshrink(0.4),
    "four-pieces": Spline((-1.0, 0.0, 2.0), ((1.0,), (0.0, 0.0, 1.0), (0.0, 1.0), (2.0,)), "four"),
    "given": Given(torch.square, lambda v1, v2, q: v1 * v2 + 2 * q * q, None, (), "given"),
}
WITHOUT_FUNCTION = {"exp-normalized": ExpNormalized(1.3, -0.7)}
ALL = DUALS | WITHOUT_FUNCTION
JUMPS = ("rectified-0",)
CONSTANT = ("monomial-0",)


def numeric(dual, name):
    return Quadrature(dual.function, dual.breakpoints, name)


def close(mine, oracle, scale):
    return float(((mine - oracle).abs() / torch.as_tensor(scale).clamp_min(1e-200)).max()) < QUADRATURE


def pairs():
    """Generic, near-equal, equal, parallel and antiparallel, of several lengths."""
    x = torch.tensor([1.0, 0.5, 1.3, 1.0, 1.0, 1.4, 1.0, 1.6, 1e-2, 1.2, 0.7, 0.9], dtype=torch.float64)
    y = torch.tensor([0.8, 1.0, 1.3, 1.0, 1.0, 1.4, 1.0, 0.3, 1.0, 1.2 * (1 + 1e-6), 1.4, 0.9], dtype=torch.float64)
    theta = torch.tensor([1.2, 2.5, 0.1, 0.0, math.pi, 1e-3, math.pi / 2, 1.0, 2.7, 1e-9, 0.0, 1e-7], dtype=torch.float64)
    return Pair(x * x, y * y, x * y * theta.cos(), (x - y) ** 2 + 4 * x * y * (theta / 2).sin() ** 2)


@pytest.mark.parametrize("name", DUALS)
def test_against_quadrature(name):
    dual, pair = DUALS[name], pairs()
    oracle = numeric(dual, name)
    size = (oracle.nngp(Pair.equal(pair.v1)) * oracle.nngp(Pair.equal(pair.v2))).sqrt()
    assert close(dual.nngp(pair), oracle.nngp(pair), size)
    steep = (oracle.slope(Pair.equal(pair.v1)) * oracle.slope(Pair.equal(pair.v2))).sqrt().clamp_min(1e-3)
    assert close(dual.slope(pair), oracle.slope(pair), steep)
    assert close(dual.mean(pair.v1), oracle.mean(pair.v1), 1.0)
    assert close(dual.gain(pair), super(type(dual), dual).gain(pair), size.clamp_min(1.0))


@pytest.mark.parametrize("name", [name for name in ALL if name not in JUMPS + CONSTANT])
def test_slope_is_the_derivative_by_covariance(name):
    """Price's theorem: d E f f' / d q = E f' f'."""
    q = torch.tensor([0.3, -0.8, 0.9, -0.2, 0.0, 0.55], dtype=torch.float64, requires_grad=True)
    pair = Pair(torch.full_like(q, 1.1), torch.full_like(q, 0.9), q)
    (grad,) = torch.autograd.grad(ALL[name].nngp(pair).sum(), q)
    torch.testing.assert_close(grad, ALL[name].slope(pair), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", [name for name in ALL if name not in CONSTANT])
def test_finite_values_and_gradients_at_special_inputs(name, dtype):
    x = torch.tensor([0, 1, 1, 1, 2, 0, 1e-4, 1e-6, 3], dtype=dtype)
    y = torch.tensor([0, 0, 1, 1, 1, 0, 1e-4, 1e-6, 3], dtype=dtype)
    c = torch.tensor([0, 0, 1, -1, 1, 0, 0.5, 1, -1], dtype=dtype)
    v1, v2, q, d = (t.requires_grad_() for t in (x * x, y * y, c * x * y, ((x - c * y) ** 2).clamp_min(0)))
    for pair in (Pair(v1, v2, q), Pair(v1, v2, q, d)):
        values = ALL[name].nngp(pair), ALL[name].slope(pair)
        assert all(v.dtype == dtype and v.isfinite().all() for v in values)
        grads = torch.autograd.grad(sum(v.sum() for v in values), (v1, v2, q, d), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in grads)


@pytest.mark.parametrize("name", [name for name in DUALS if type(DUALS[name]) in (Spline, ExponentialLinear)])
@pytest.mark.parametrize("scale", [1e-7, 30.0, 1e5])
def test_small_and_large_scales(name, scale):
    """Small inputs see the function around 0; large ones its ends: a piecewise linear function, to the order of the rest."""
    dual, base = DUALS[name], pairs()
    pair = Pair(*(scale**2 * t for t in (base.v1, base.v2, base.q, base.distance)))
    k = dual.nngp(pair)
    own = (dual.nngp(Pair.equal(pair.v1)) * dual.nngp(Pair.equal(pair.v2))).sqrt()
    assert (k.abs() <= own * (1 + 1e-9)).all()
    if type(dual) is Spline or scale < 1:
        assert close(k, numeric(dual, name).nngp(pair), own)
    else:
        exact = named.ABReLU(0.0, dual.p).nngp(pair)
        assert float(((k - exact).abs() / own)[base.v1 > 0.1].max()) < 8 / scale


def test_exponential_linear_against_one_dimension():
    """E f(u) E[f(v) | u] by mpmath, at deviations where the closed form of the literature multiplies exp(2e4) and its inverse."""
    x, y, theta = 30.0, 200.0, 1.1
    c, s = math.cos(theta), y * math.sin(theta)

    def inner(u):
        m = y * c * u / x
        tail = mpmath.erfc((m + s * s) / (s * mpmath.sqrt(2))) / 2
        low = mpmath.exp(m + s * s / 2) * tail - mpmath.erfc(m / (s * mpmath.sqrt(2))) / 2
        return m * mpmath.erfc(-m / (s * mpmath.sqrt(2))) / 2 + s * mpmath.npdf(m / s) + low

    with mpmath.workdps(30):
        exact = mpmath.quad(
            lambda z: mpmath.npdf(z) * (x * z if z > 0 else mpmath.expm1(x * z)) * inner(x * z),
            [-9, -3, -0.5, -0.1, 0, 0.1, 1, 3, 9],
        )
    v1, v2, q = (torch.tensor([t], dtype=torch.float64) for t in (x * x, y * y, x * y * c))
    assert float(named.elu().nngp(Pair(v1, v2, q))) == pytest.approx(float(exact), rel=1e-10)


def test_owens_function():
    h, r = torch.meshgrid(
        torch.tensor([1e-9, 0.1, 1.0, 2.5, 6.0], dtype=torch.float64),
        torch.tensor([-1e6, -3.0, -1.0, -0.2, 0.0, 1e-9, 0.7, 1.0, 1.3, 40.0], dtype=torch.float64),
        indexing="ij",
    )
    exact = torch.from_numpy(scipy.special.owens_t(h.numpy(), r.numpy()))
    torch.testing.assert_close(owen(h, r, torch.ones_like(r)), exact, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("a", "b", "theta"), [(0.3, 1.2, 0.7), (1.0, 1.0, 1e-4), (0.5, 0.5000001, 1e-7), (2.0, 0.1, 3.0), (0.0, 0.0, 2.0)]
)
@pytest.mark.parametrize(("j", "k"), [(0, 0), (1, 0), (0, 2), (1, 1), (2, 1), (2, 2)])
def test_truncated_moments(a, b, theta, j, k):
    with mpmath.workdps(30):
        c, s = mpmath.cos(theta), mpmath.sin(theta)

        def tail(t):
            q = mpmath.ncdf(-t)
            return [q, mpmath.npdf(t) - t * q, (1 + t * t) * q - t * mpmath.npdf(t)][k]

        edges = sorted({float(a), *(float(min(max(a, (b + e * s) / c), 12)) for e in (-6, -2, 0, 2, 6))} | {12.0})
        exact = mpmath.quad(lambda z: (z - a) ** j * mpmath.npdf(z) * s**k * tail((b - c * z) / s), edges)
    mine = Quadrant(*(torch.tensor([t], dtype=torch.float64) for t in (a, b, theta))).moment(j, k)
    assert float(mine) == pytest.approx(float(exact), abs=2e-15)


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 20])
def test_hermite_at_any_variance(degree):
    """q^n at variance 1; elsewhere that of the same polynomial by its coefficients (mpmath: they cancel)."""
    q = torch.tensor([0.3, -0.9, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        Hermite(degree).nngp(Pair(torch.ones_like(q), torch.ones_like(q), q)), q**degree, rtol=1e-14, atol=0
    )
    v1, v2, q = 1.7, 0.4, 0.5
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for k in range(degree // 2 + 1):
            l = degree - 2 * k
            weight = mpmath.factorial(degree) / (2**k * mpmath.factorial(k) * mpmath.factorial(l))
            total += (
                weight**2
                * mpmath.factorial(l)
                / mpmath.factorial(degree)
                * ((mpmath.mpf(v1) - 1) * (mpmath.mpf(v2) - 1)) ** k
                * mpmath.mpf(q) ** l
            )
        exact = float(total)
    mine = Hermite(degree).nngp(Pair(*(torch.tensor(t, dtype=torch.float64) for t in (v1, v2, q))))
    assert float(mine) == pytest.approx(exact, rel=1e-12)
    if degree <= 2:
        oracle = Quadrature(Hermite(degree).function, (), "hermite")
        assert float(mine) == pytest.approx(
            float(oracle.nngp(Pair(*(torch.tensor([t], dtype=torch.float64) for t in (v1, v2, q))))), abs=1e-9
        )


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4, 5, 6, 12])
def test_monomials_of_any_degree(degree):
    """neural-tangents stops at degree 5. At equal inputs E x^(2n) = (2n - 1)!! v^n, half of it where rectified."""
    v = torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64)
    moment = math.prod(range(2 * degree - 1, 0, -2)) * v**degree
    torch.testing.assert_close(Polynomial([0.0] * degree + [1.0]).nngp(Pair.equal(v)), moment, rtol=EXACT, atol=0)
    if degree:
        torch.testing.assert_close(RectifiedMonomial(degree).nngp(Pair.equal(v)), moment / 2, rtol=EXACT, atol=0)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_kernels(order):
    """Cho and Saul 2009: J_0 = pi - theta, J_1 = sin + (pi - theta) cos, J_2 = 3 sin cos + (pi - theta)(1 + 2 cos^2)."""
    pair = pairs()
    t = pair.theta
    j = [math.pi - t, t.sin() + (math.pi - t) * t.cos(), 3 * t.sin() * t.cos() + (math.pi - t) * (1 + 2 * t.cos() ** 2)][order]
    torch.testing.assert_close(RectifiedMonomial(order).nngp(pair), pair.m**order * j / (2 * math.pi), rtol=EXACT, atol=1e-16)


def test_functions_that_grow_too_fast_are_refused():
    """At std 4, exp(2 u) has its weight at 8 standard deviations, beyond the last node: not a number half as large."""
    v = torch.tensor([16.0], dtype=torch.float64)
    for name, function in (("exp", torch.exp), ("power", lambda x: x**8)):
        with pytest.raises(ValueError, match=rf"{name}.*grows so fast.*Polynomial"):
            Quadrature(function, (), name).nngp(Pair.equal(v))


def test_small_functions_are_not_taken_for_converged():
    """A missing breakpoint is found however small the function is."""
    with pytest.raises(ValueError, match=r"tiny.*breakpoints"):
        Quadrature(lambda x: 1e-7 * (x - 0.3).abs(), (), "tiny").nngp(pairs())


@pytest.mark.parametrize("threshold", [0.5, 3.0, 20.0, 30.0])
def test_softplus_is_torchs(threshold):
    """With its jump at the threshold, which is e^-20 by default and large where the threshold is small."""
    dual = named.softplus(2.0, threshold)
    x = torch.linspace(-9, 9, 400001, dtype=torch.float64)
    w = torch.exp(-x * x / 2)
    exact = (F.softplus(x, 2.0, threshold) ** 2 * w).sum() / w.sum()
    assert float(dual.nngp(Pair.equal(torch.ones(1, dtype=torch.float64)))) == pytest.approx(
        float(exact), abs=1e-5 if threshold < 20 else 1e-8
    )
