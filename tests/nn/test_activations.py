"""Activations: their forward, what other libraries get wrong, and finite networks drawn at random."""

import math

import pytest
import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt
from torchtangents.covariance.named import tanh
from torchtangents.covariance.pair import Pair
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from ..cases import ACTIVATIONS
from ..tolerances import EXACT, FLOAT32, QUADRATURE
from .test_monte_carlo import check

n = tt.nn
WITHOUT_FORWARD = ("exp-normalized",)
KERNEL_1 = tuple(a for a in ACTIVATIONS if a not in ("sign", "rectified-0", "monomial-0"))  # trained below


def net(act, w_std=1.0, b_std=0.0, inputs=5, width=8):
    return Sequential(n.Linear(inputs, width, w_std=w_std, b_std=b_std), act, n.Linear(width, 1, b_std=b_std))


def special(dtype=torch.float64):
    """Zero, equal, parallel and antiparallel vectors, twice a generic one."""
    x = torch.randn(2, 5, dtype=dtype)
    return torch.cat([x, x[:1], 2 * x[:1], -x[:1], -0.5 * x[:1], torch.zeros(2, 5, dtype=dtype)])


# The finite side


@pytest.mark.parametrize("name", [a for a in ACTIVATIONS if a not in WITHOUT_FORWARD])
def test_forward_is_the_function_of_the_rule(name):
    layer, x = ACTIVATIONS[name](), torch.linspace(-7, 7, 141, dtype=torch.float64)
    torch.testing.assert_close(layer(x.clone()), record_dual(layer).function(x), rtol=1e-12, atol=1e-12)


def record_dual(layer):
    program = record(net(layer), (torch.randn(2, 5),))
    return next(step.dual for step in program.steps if hasattr(step, "dual"))


@pytest.mark.parametrize("name", [a for a in n.__all__ if hasattr(torch.nn, a) and hasattr(getattr(n, a), "dual")])
def test_what_torch_has_is_a_subclass_of_it(name):
    layer, theirs = getattr(n, name)(), getattr(torch.nn, name)()
    assert isinstance(layer, type(theirs))
    assert not layer.state_dict()
    x = torch.randn(9)
    assert torch.equal(layer(x.clone()), theirs(x.clone()))


# At zero, equal, parallel and antiparallel inputs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_special_inputs_without_bias(name, dtype):
    x = special(dtype).requires_grad_()
    k = tt.kernels(net(ACTIVATIONS[name]()), x)
    assert all(part.dtype == dtype and part.isfinite().all() for part in k)
    torch.testing.assert_close(k.nngp[0, 2], k.nngp[0, 0], rtol=1e-6, atol=1e-9)
    total = k.nngp.sum() + k.ntk.sum()
    if total.requires_grad:
        (grad,) = torch.autograd.grad(total, x, allow_unused=True)
        assert grad is None or grad.isfinite().all()


@pytest.mark.parametrize("degree", range(6))
def test_rectified_monomials_have_a_diagonal(degree):
    """neural-tangents returns NaN there (nt_features.md, D1): E max(u, 0)^2n = (2n - 1)!! v^n / 2, and n^2 of order n - 1 for slopes."""
    x = special()[:6]
    k = tt.kernels(net(n.RectifiedMonomial(degree)), x)
    v = x.square().mean(1)
    moment = [math.prod(range(2 * m - 1, 0, -2)) * v**m / 2 for m in (degree, max(degree - 1, 0))]
    torch.testing.assert_close(k.nngp.diagonal(), moment[0], rtol=EXACT, atol=0)
    torch.testing.assert_close(k.ntk.diagonal(), moment[0] + degree**2 * moment[1] * v, rtol=EXACT, atol=0)
    assert torch.equal(k.nngp[0, 2], k.nngp[0, 0])  # equal inputs
    torch.testing.assert_close(k.nngp[0, 3], 2**degree * k.nngp[0, 0], rtol=1e-12, atol=0)  # parallel ones
    torch.testing.assert_close(k.nngp[0, 4], torch.zeros((), dtype=x.dtype), rtol=0, atol=1e-15 * float(k.nngp[0, 0]))


def test_polynomials_and_quadrature_at_zero_inputs():
    """neural-tangents returns NaN, value and gradient (D3): here E f(0) f(u) is exact."""
    x = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    y = torch.ones(1, 5, dtype=torch.float64)
    for act in (n.Polynomial([0.5, 0.3, 0.2, 0.1]), n.Elementwise(lambda u: 0.5 + 0.3 * u + 0.2 * u**2 + 0.1 * u**3)):
        both, cross = tt.nngp(net(act), x), tt.nngp(net(act), x, y)
        torch.testing.assert_close(both.detach(), torch.full_like(both, 0.25), rtol=1e-13, atol=0)
        torch.testing.assert_close(cross.detach(), torch.full_like(cross, 0.5 * 0.7), rtol=1e-12, atol=0)
        slope = tt.ntk(net(act), x, y) - cross  # Theta' = E f' f' * 0
        torch.testing.assert_close(slope.detach(), torch.zeros_like(slope), rtol=0, atol=1e-13)
        (grad,) = torch.autograd.grad(cross.sum(), x)
        expected = 0.3 * (0.3 + 0.3) / 5  # E f'(0) f'(u) y / 5, f' = 0.3 + 0.4 u + 0.3 u^2
        if isinstance(act, n.Polynomial):
            torch.testing.assert_close(grad, torch.full_like(grad, expected), rtol=1e-12, atol=0)
        assert grad.isfinite().all()
    tanh_net = net(n.Tanh())
    assert float(tt.nngp(tanh_net, x.detach(), y)) == pytest.approx(0, abs=1e-15)


def test_sign_after_pooling():
    """neural-tangents puts 1 off the diagonal of the covariance between positions (D2); the dense oracle and finite nets say."""
    width, count = 128, 300
    x = torch.randn(2, 1, 4, 4)
    k = Sequential(
        n.Conv2d(1, width, 3, padding=1), n.Sign(), n.AvgPool2d(2), n.Conv2d(width, width, 2), n.ReLU(), n.GlobalAvgPool()
    )
    mine = tt.nngp(k, x.double())
    program = record(k, (x.double(),))
    torch.testing.assert_close(mine, dense_kernels(program, program)[0].reshape(2, 2), rtol=1e-12, atol=1e-14)
    with torch.no_grad():
        samples = []
        for _ in range(count):
            for layer in (k[0], k[3]):
                layer.weight.normal_()
                layer.bias.normal_()
            out = k(x)
            samples.append(out @ out.T / width)
    drawn = torch.stack(samples).double()
    allowed = 4 * drawn.std(0) / math.sqrt(count) + 2 / width * mine.diagonal().max()
    assert ((drawn.mean(0) - mine).abs() < allowed).all()
    wrong = Sequential(n.Conv2d(1, 1, 3, padding=1), n.Sign())  # what one number for all positions would give
    positions = tt.nngp(wrong, x.double())[0, 0].flatten(2).reshape(16, 16)
    assert positions[~torch.eye(16, dtype=torch.bool)].max() < 0.99


def test_tanh_to_1e8():
    """Against a product rule of 1e6 nodes in coordinates of its own; neural-tangents' 25 nodes are 1e-3 off (D14)."""
    x, y, c = (
        torch.tensor(t, dtype=torch.float64)
        for t in ([0.3, 1.0, 2.0, 6.0, 1.0], [1.0, 1.0, 5.0, 6.0, 1.0], [0.3, 0.9, -0.6, 0.99, 1.0])
    )
    pair = Pair(x * x, y * y, c * x * y)
    z = torch.arange(-500, 501, dtype=torch.float64) / 500 * 9
    w = torch.exp(-z * z / 2)
    w = w / w.sum()
    for i in range(5):
        u = x[i] * z[:, None]
        v = y[i] * (c[i] * z[:, None] + (1 - c[i] ** 2).clamp_min(0).sqrt() * z)
        weights = w[:, None] * w
        assert float(tanh().nngp(pair)[i]) == pytest.approx(float((u.tanh() * v.tanh() * weights).sum()), abs=QUADRATURE / 10)
        slopes = ((1 - u.tanh() ** 2) * (1 - v.tanh() ** 2) * weights).sum()
        assert float(tanh().slope(pair)[i]) == pytest.approx(float(slopes), abs=QUADRATURE / 10)


# Scales


GROWING = {  # linear at infinity: the kernel grows by w_std^2 E f'^2 a layer
    "relu": (n.ReLU, 0.5),
    "leaky-relu": (lambda: n.LeakyReLU(0.3), 0.545),
    "abs": (n.Abs, 1.0),
    "abrelu": (lambda: n.ABReLU(-0.5, 1.0), 0.625),
    "gelu": (n.GELU, 0.5),
    "elu": (n.ELU, 0.5),
}


@pytest.mark.parametrize(
    ("name", "backend"), [(name, "auto") for name in GROWING] + [("relu", "reference"), ("gelu", "reference")]
)
def test_large_w_std_at_depth_100(name, backend):
    """A kernel of 1e30 in float32: products of two variances would be 1e60 (neural-tangents needs do_stabilize, D9)."""
    act, level = GROWING[name]
    factor = 10**0.3
    layers = [layer for _ in range(100) for layer in (n.Linear(5, 5, w_std=(factor / level) ** 0.5, b_std=0.0), act())]
    deep = Sequential(*layers, n.Linear(5, 1, b_std=0.0))
    x = torch.randn(3, 5)
    x = (x / x.square().mean(1, keepdim=True).sqrt()).requires_grad_()
    k, wide = tt.kernels(deep, x, backend=backend), tt.kernels(deep, x.detach().double(), backend=backend)
    assert 1e28 < float(wide.nngp.max()) < 1e33
    for mine, exact in zip(k, wide, strict=True):
        assert mine.isfinite().all()
        assert float((mine.detach().double() - exact).abs().max() / exact.max()) < FLOAT32 * (
            10 if name in ("leaky-relu", "abrelu") else 1
        )
    (grad,) = torch.autograd.grad((k.nngp / 1e10).sum(), x)
    assert grad.isfinite().all()


@pytest.mark.parametrize(
    "name", ["hardswish", "softshrink", "relu6", "hardtanh", "hardsigmoid", "erf", "sign", "gaussian", "gabor", "cos"]
)
def test_large_inputs(name):
    """Large standard deviations: bounded functions, and those that are linear beyond their kinks."""
    x = (1e6 if name in ("gaussian", "gabor") else 1e9) * special()[:5]
    k = tt.kernels(net(ACTIVATIONS[name]()), x, backend="reference")
    assert k.nngp.isfinite().all()
    assert k.ntk.isfinite().all()
    assert float(torch.linalg.eigvalsh(k.nngp)[0]) > -1e-7 * float(k.nngp.diagonal().max())


@pytest.mark.parametrize("act", [n.Tanh, n.ELU])
def test_small_inputs_beside_large_ones(act):
    """A table of csrc is right to 5e-9 of its largest value, and 1e-7 squared is below that: such data go to the reference."""
    x = torch.randn(80, 5, dtype=torch.float64)
    x[:40] *= 1e-7
    k, exact = tt.nngp(net(act()), x), tt.nngp(net(act()), x, backend="reference")
    own = exact.diagonal()
    assert float(((k - exact).abs() / (own[:, None] * own).sqrt()).max()) < 1e-7


def test_smooth_functions_at_large_inputs_are_refused_by_name():
    """Trapezoid rules resolve tanh to standard deviations of about 50; beyond, an error names the layer."""
    with pytest.raises(ValueError, match=r"1 \(SiLU\): SiLU: the integral .* does not converge"):
        tt.nngp(net(n.SiLU()), 1e6 * torch.ones(2, 5))


# Parameters


def test_parameters_are_differentiable_and_outside_registration():
    p, q = (torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (0.7, -0.4))
    x = torch.randn(3, 5, dtype=torch.float64)
    builds = [n.Exp, n.Gaussian, n.ExpNormalized, lambda a, b: n.Polynomial([a, b, 0.3 * a])]
    builds.append(lambda a, b: n.Polynomial(torch.stack([b, a])))
    for build in builds:
        assert not list(build(p, q).parameters())
        assert torch.autograd.gradcheck(lambda a, b, build=build: tt.kernels(net(build(a, b), b_std=0.1), x), (p, q))
    single = torch.tensor(0.3, requires_grad=True)  # another precision than the data
    tt.ntk(net(n.Polynomial([1.0, single])), x).sum().backward()
    assert single.grad is not None


def test_given_closed_forms():
    x, y = torch.randn(4, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)

    def nngp(v1, v2, q):
        return v1 * v2 + 2 * q**2

    by_slope = n.Elementwise(torch.square, nngp=nngp, slope=lambda v1, v2, q: 4 * q)
    for act in (n.Elementwise(torch.square, nngp=nngp), by_slope, n.Elementwise(nngp=nngp)):
        for mine, exact in zip(tt.kernels(net(act), x, y), tt.kernels(net(n.Monomial(2)), x, y), strict=True):
            torch.testing.assert_close(mine, exact)
            assert not mine.requires_grad
        with torch.inference_mode():
            torch.testing.assert_close(tt.ntk(net(act), x, y), tt.ntk(net(n.Monomial(2)), x, y))
        assert torch.autograd.gradcheck(lambda x, act=act: tt.ntk(net(act), x, y), (x.clone().requires_grad_(),))
    rate = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    own = n.Elementwise(nngp=lambda v1, v2, q: torch.exp(rate * (q - (v1 + v2) / 2)))
    assert torch.autograd.gradcheck(lambda r: tt.ntk(net(own), x), (rate,))
    with pytest.raises(NotImplementedError, match="given as a kernel alone"):
        own(x)


# Refusals

REFUSED = {
    "exp-normalized-forward": (lambda: n.ExpNormalized()(torch.ones(1)), NotImplementedError, "without a finite network"),
    "exp-normalized-mean": (lambda: tt.nngp(Sequential(n.Linear(5, 8), n.ExpNormalized(), n.LayerNorm(8, elementwise_affine=False), n.Linear(8, 1)), torch.ones(2, 5)),
                            NotImplementedError, r"1 \(ExpNormalized\): ExpNormalized is a kernel without"),
    "exp-normalized-gain": (lambda: tt.ntk(Sequential(n.Linear(5, 8), n.LayerNorm(8), n.ExpNormalized(), n.Linear(8, 1)), torch.ones(2, 5)),
                            NotImplementedError, r"2 \(ExpNormalized\): .*elementwise_affine=False"),
    "exp-normalized-of-relu": (lambda: tt.ntk(Sequential(n.Linear(5, 8), n.ReLU(), n.ExpNormalized(), n.Linear(8, 1)), torch.ones(2, 5)),
                               NotImplementedError, r"2 \(ExpNormalized\): .*kernel without a function"),
    "gaussian-variance": (lambda: tt.nngp(net(n.Gaussian(1.0, 0.3)), torch.ones(2, 5)), ValueError, r"1 \(Gaussian\): Gaussian\(b=0.3\) .* below 0.833"),
    "degree": (lambda: n.Monomial(-1), ValueError, "Monomial: expected a degree from 0"),
    "degree-float": (lambda: n.Hermite(2.0), TypeError, "Hermite: expected the degree as an integer"),
    "degree-large": (lambda: n.RectifiedMonomial(151), ValueError, "150"),
    "no-coefficients": (lambda: n.Polynomial([]), ValueError, "Polynomial"),
    "coefficient": (lambda: n.Polynomial([1.0, float("nan")]), ValueError, "finite c1"),
    "coefficients": (lambda: n.Polynomial(torch.ones(2, 2)), TypeError, "one axis"),
    "nothing": (lambda: n.Elementwise(), TypeError, "nngp="),
    "slope-alone": (lambda: n.Elementwise(torch.sin, slope=lambda v1, v2, q: q), TypeError, "nngp= beside slope="),
    "not-a-function": (lambda: n.Elementwise(torch.sin, nngp=3), TypeError, "nngp as a function"),
    "shape": (lambda: tt.nngp(net(n.Elementwise(nngp=lambda v1, v2, q: q.sum())), torch.ones(2, 5)), TypeError, r"nngp\(v1, v2, q\) elementwise"),
    "celu": (lambda: tt.nngp(net(n.CELU(-1.0)), torch.ones(2, 5)), ValueError, r"1 \(CELU\): .*alpha > 0"),
    "softplus": (lambda: tt.nngp(net(n.Softplus(-1.0)), torch.ones(2, 5)), ValueError, r"1 \(Softplus\): .*beta > 0"),
    "too-fast": (lambda: tt.nngp(net(n.Elementwise(torch.exp), w_std=5.0), torch.ones(2, 5)), ValueError, r"1 \(Elementwise\): exp: grows so fast"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, pattern = REFUSED[name]
    with pytest.raises(error, match=f"(?s){pattern}"):
        call()


# Finite networks: with one hidden layer the expected empirical kernels are exact at any width

DRAWN = ("exp", "gaussian", "gabor", "monomial-2", "rectified-2", "polynomial", "hermite-3", "elu-half", "selu", "celu", "relu6", "hardswish",
         "hardsigmoid", "softshrink", "hardtanh-uneven", "mish", "log-sigmoid", "tanhshrink", "elementwise-bent")  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_expected_kernels_of_finite_networks(name):
    small = name in ("hermite-3", "polynomial", "exp")  # their products have heavy tails
    first = n.Linear(6, 8, w_std=0.7 if small else 1.5, b_std=0.3)
    check(Sequential(Flatten(), first, ACTIVATIONS[name](), n.Linear(8, 1, w_std=1.1, b_std=0.3)), torch.randn(3, 2, 3), 2000)
