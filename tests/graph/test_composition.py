"""Sums, products, concatenations and normalisation: against calculations by hand, and finite networks."""

import math

import pytest
import torch
import torch.nn.functional as F

import torchtangents as tt
from torchtangents.covariance.kinked import ABReLU
from torchtangents.covariance.pair import Pair

from .. import cases_composition
from ..cases import inputs
from ..nn.test_monte_carlo import check
from ..test_precision import worst
from ..tolerances import EXACT, FLOAT32

n = tt.nn


class Net(torch.nn.Module):
    """join of Linear layers on the same input, whose kernels are known: w_std^2 x x' / 6 + b_std^2."""

    STDS = [(1.5, 0.3), (0.7, 0.9), (1.1, 0.0)]

    def __init__(self, join, widths=(8, 8, 8), head=None):
        super().__init__()
        self.layers = torch.nn.ModuleList(n.Linear(6, w, w_std=s, b_std=b) for w, (s, b) in zip(widths, self.STDS, strict=False))
        self.join, self.head = join, torch.nn.Identity() if head is None else n.Linear(head, 1, w_std=1.2, b_std=0.4)

    def forward(self, x):
        return self.head(self.join(*(layer(x) for layer in self.layers)))


def points():
    x = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.cat([x, x[:1], -x[:1], 2 * x[1:2], torch.zeros(1, 6, dtype=torch.float64)])


def hidden(i):
    """The kernel of one of the layers; its NTK is the same."""
    x = points()
    w, b = Net.STDS[i]
    return w * w * x @ x.T / 6 + b * b


def kernels(join, **options):
    return tt.kernels(Net(join, **options), points())


def of(function, i=0):
    """(nngp, ntk) of a function of one layer, and its mean: another network of one branch."""
    k = kernels(lambda *h: function(h[i]))
    return k.nngp, k.ntk


def relu_mean(k):
    return (k.diagonal() / (2 * math.pi)).sqrt()


def outer(m):
    return m[:, None] * m[None]


def relu_of(k):
    """(nngp, ntk) of relu of a Gaussian whose kernel and NTK are k."""
    v = k.diagonal()
    pair = Pair(v[:, None], v[None], k, (v[:, None] + v[None] - 2 * k).clamp_min(0))
    return ABReLU(0.0, 1.0).nngp(pair), ABReLU(0.0, 1.0).slope(pair) * k


def same(mine, nngp, ntk, tolerance=EXACT):
    torch.testing.assert_close(mine.nngp, nngp, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(mine.ntk, ntk, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("join", [lambda a, *_: a + a, lambda a, *_: 2 * a, lambda a, *_: a + a / 2 + (a - a / 2)])
def test_a_value_twice_is_four_times_its_kernel(join):
    same(kernels(join), 4 * hidden(0), 4 * hidden(0))


def test_a_value_minus_itself_is_nothing():
    k = kernels(lambda a, *_: F.relu(a) - F.relu(a))
    assert float(k.nngp.abs().max()) == 0 == float(k.ntk.abs().max())


def test_a_value_and_a_function_of_it_are_one_function():
    same(kernels(lambda a, *_: a + F.relu(a)), *of(lambda h: F.leaky_relu(2 * h, 0.5)))
    same(kernels(lambda a, b, *_: a + b + F.relu(a + b)), *kernels(lambda a, b, *_: F.leaky_relu(2 * a + 2 * b, 0.5)))


def test_means_of_independent_branches_multiply():
    (ka, ta), (kb, tb) = of(F.relu, 0), of(F.relu, 1)
    ma, mb = relu_mean(hidden(0)), relu_mean(hidden(1))
    cross = ma[:, None] * mb[None] + mb[:, None] * ma[None]
    same(kernels(lambda a, b, *_: F.relu(a) + F.relu(b)), ka + kb + cross, ta + tb)
    same(kernels(lambda a, b, *_: F.relu(a) - 3 * F.relu(b)), ka + 9 * kb - 3 * cross, ta + 9 * tb)
    same(kernels(lambda a, b, *_: F.relu(a) + b), ka + hidden(1), ta + hidden(1))


def test_data_are_added_channel_by_channel():
    x, m = points(), relu_mean(hidden(0))
    mean = x.mean(1)
    (ka, ta) = of(F.relu)
    mine = tt.kernels(RawSkip(), x)
    same(mine, ka + x @ x.T / 6 + m[:, None] * mean[None] + mean[:, None] * m[None], ta)


class RawSkip(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = n.Linear(6, 6, w_std=1.5, b_std=0.3)

    def forward(self, x):
        return F.relu(self.a(x)) + x


def test_a_concatenation_then_an_activation_is_a_mixture():
    """Each group has its own function and variance; one averaged Gaussian would give another number."""
    (ka, ta), (kb, tb) = of(F.relu, 0), of(lambda h: F.relu(2 * h), 1)
    mine = kernels(lambda a, b, *_: F.relu(torch.cat([a, 2 * b], 1)), widths=(2, 6))
    same(mine, ka / 4 + 3 * kb / 4, ta / 4 + 3 * tb / 4)
    averaged, _ = relu_of(hidden(0) / 4 + 3 * hidden(1))
    assert float((mine.nngp - averaged).abs().max()) > 1e-2


def test_functions_of_groups_stay_apart_through_sums():
    """[relu a | b] + [c | relu c']: no cross-term, since no group has two means."""

    def join(a, b, c):
        return torch.cat([F.relu(a), b], 1) + torch.cat([c, F.relu(2 * c)], 1)

    (ka, ta), (kc, tc) = of(F.relu, 0), of(lambda h: F.relu(2 * h), 2)
    same(kernels(join, widths=(4, 4, 4)), (ka + hidden(1) + hidden(2) + kc) / 2, (ta + hidden(1) + hidden(2) + tc) / 2)


def test_pooled_concatenations_keep_their_groups():
    """pool [relu a | b] + pool [c | relu d]: the product of the averaged means would be wrong."""

    class Images(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(n.Conv1d(2, 4, 1, w_std=1.3, b_std=0.5) for _ in range(4))

        def forward(self, x):
            a, b, c, d = (layer(x) for layer in self.layers)
            pool = torch.nn.AvgPool1d(2)
            return pool(torch.cat([F.relu(a), b], 1)) + pool(torch.cat([c, F.relu(d)], 1))

    class Half(Images):
        def forward(self, x):
            a, b, _, _ = (layer(x) for layer in self.layers)
            return F.avg_pool1d(F.relu(a) + b, 2)

    x = torch.randn(3, 2, 4, dtype=torch.float64)
    same(tt.kernels(Images(), x), *tt.kernels(Half(), x))


def test_a_product_of_independent_values():
    (ka, ta), (kb, tb) = of(F.relu, 0), of(torch.erf, 1)
    mine = kernels(lambda a, b, *_: F.relu(a) * torch.erf(b))
    same(mine, ka * kb, ta * kb + ka * tb)
    kc = hidden(2)
    product = kernels(lambda a, b, c: F.relu(a) * torch.erf(b) * c)
    same(product, ka * kb * kc, (ta * kb + ka * tb) * kc + ka * kb * kc)


def test_the_mean_of_a_product_is_the_product_of_the_means():
    ma, mb = relu_mean(hidden(0)), relu_mean(hidden(1))
    k = kernels(lambda a, b, c: F.relu(a) * F.relu(b) + F.relu(c))
    (ka, _), (kb, _), (kc, _) = of(F.relu, 0), of(F.relu, 1), of(F.relu, 2)
    mc = relu_mean(hidden(2))
    torch.testing.assert_close(k.nngp, ka * kb + kc + (ma * mb)[:, None] * mc + mc[:, None] * (ma * mb), rtol=EXACT, atol=EXACT)


def test_products_of_functions_of_one_value_are_functions_of_it():
    same(kernels(lambda a, *_: a * torch.sigmoid(a)), *of(F.silu), 1e-8)
    v = hidden(0).diagonal()
    square = kernels(lambda a, *_: a * a)
    same(square, 2 * hidden(0) ** 2 + v[:, None] * v[None], 4 * hidden(0) ** 2, 1e-8)
    same(kernels(lambda a, b, *_: (a + b) * F.relu(a + b)), *kernels(lambda a, b, *_: F.relu(a + b) * F.relu(a + b)), 1e-8)
    same(kernels(lambda a, *_: (2 * a) * (a / 2)), *square, 1e-8)


def test_a_constant_beside_a_value_moves_its_function():
    same(
        tt.kernels(Net(lambda a, *_: a * F.relu6(a + 3) / 6), points()[:3]),
        *tt.kernels(Net(lambda a, *_: F.hardswish(a)), points()[:3]),
        1e-7,
    )
    same(kernels(lambda a, *_: 1 - 2 * torch.sigmoid(-a)), *of(lambda h: torch.tanh(h / 2)), 1e-8)
    k = kernels(lambda a, *_: F.relu(a) + 2)
    m, (ka, ta) = relu_mean(hidden(0)), of(F.relu)
    same(k, ka + 2 * (m[:, None] + m) + 4, ta)


def test_known_factors():
    mask = torch.linspace(-1, 2, 9, dtype=torch.float64)[:, None]  # one number a sample
    k = kernels(lambda a, *_: F.relu(a * mask))
    scaled = hidden(0) * mask * mask.T
    same(k, *relu_of(scaled), 1e-7)
    c = torch.randn(8, dtype=torch.float64)
    same(kernels(lambda a, *_: a * c), hidden(0) * c.square().mean(), hidden(0) * c.square().mean())
    with pytest.raises(tt.UnsupportedError, match="not"):
        kernels(lambda a, *_: F.relu(a * c))


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_a_value_and_a_function_of_a_correlated_one(ratio):
    """h + f(h + g) with cov g = r cov h: h - (h + g) / (1 + r) is independent of h + g."""

    class Skip(torch.nn.Module):
        def __init__(self, join):
            super().__init__()
            self.a, self.b = n.Linear(6, 8, b_std=0.0), n.Linear(6, 8, w_std=ratio**0.5, b_std=0.0)
            self.join = join

        def forward(self, x):
            return self.join(self.a(x), self.b(x))

    x = points()
    k = x @ x.T / 6
    for f in (F.relu, torch.erf, torch.sign):
        mine = tt.kernels(Skip(lambda h, g: h + f(h + g)), x)
        rest = k * ratio / (1 + ratio)
        alone = tt.kernels(Skip(lambda h, g: (h + g) / (1 + ratio) + f(h + g)), x)
        torch.testing.assert_close(mine.nngp, rest + alone.nngp, rtol=1e-8, atol=1e-8)
        if f is not torch.sign:  # whose derivative in training is 0, while its expectation's is not
            torch.testing.assert_close(mine.ntk, rest + alone.ntk, rtol=1e-8, atol=1e-8)
        else:
            torch.testing.assert_close(mine.ntk, k, rtol=1e-8, atol=1e-8)


def test_layer_norm_after_an_activation_subtracts_its_mean():
    k, t = of(F.relu)
    m = relu_mean(hidden(0))
    r = (k.diagonal() - m * m + 1e-5).rsqrt()
    mine = kernels(lambda a, *_: F.layer_norm(F.relu(a), (8,)))
    same(mine, outer(r) * (k - outer(m)), outer(r) * t)


def test_layer_norm_of_groups_uses_the_statistics_of_all():
    (ka, ta), kb = of(F.relu), hidden(1)
    level = relu_mean(hidden(0)) / 4  # 2 of 8 channels have a mean
    v = (ka / 4 + 3 * kb / 4).diagonal() - level * level
    r = (v + 1e-5).rsqrt()
    mine = kernels(lambda a, b, *_: F.layer_norm(torch.cat([F.relu(a), b], 1), (8,)), widths=(2, 6))
    same(mine, outer(r) * (ka / 4 + 3 * kb / 4 - outer(level)), outer(r) * (ta / 4 + 3 * kb / 4))
    rr = ((hidden(0) / 4 + 3 * kb / 4).diagonal() + 1e-5).rsqrt()
    mine = kernels(lambda a, b, *_: F.relu(F.layer_norm(torch.cat([a, b], 1), (8,))), widths=(2, 6))
    (ka, ta), (kb, tb) = relu_of(outer(rr) * hidden(0)), relu_of(outer(rr) * kb)
    same(mine, ka / 4 + 3 * kb / 4, ta / 4 + 3 * tb / 4, 1e-7)


def test_a_trained_gain_in_a_sum_counts_once():
    """gain * u + h: the gain adds K_u to the NTK of the sum, the trained bias 1."""

    class Normed(torch.nn.Module):
        def __init__(self, affine):
            super().__init__()
            self.a, self.b = n.Linear(6, 8), n.Linear(6, 8)
            self.norm = n.LayerNorm(8, elementwise_affine=affine)

        def forward(self, x):
            return self.norm(self.a(x)) + self.b(x)

    plain, trained = (tt.kernels(Normed(affine), points()) for affine in (False, True))
    u = tt.nngp(torch.nn.Sequential(n.Linear(6, 8), n.LayerNorm(8)), points())
    same(trained, plain.nngp, plain.ntk + u + 1)


def test_halves_of_one_layer_are_independent():
    k = hidden(0)
    same(kernels(lambda a, *_: a[:, :4] * a[:, 4:]), k * k, 2 * k * k)
    same(kernels(lambda a, *_: sum(a.chunk(2, 1))), 2 * k, 2 * k)
    same(kernels(lambda a, b, c: torch.cat([a, b], 1).flip(1)), (k + hidden(1)) / 2, (k + hidden(1)) / 2)


def test_other_groups_of_channels_leave_the_halves_independent():
    """h + cat(f, g): its two groups hold different channels of h, whose sum is not 2 h."""
    k, c = hidden(0), hidden(2)
    mine = kernels(lambda a, b, c: (lambda s: s[:, :4] + s[:, 4:])(a + torch.cat([c[:, :4], c[:, 4:]], 1)))
    same(mine, 2 * k + 2 * c, 2 * k + 2 * c)


REFUSED = {
    "post-activation": (lambda a, b, c: F.relu(F.relu(a) + b), "four dimensions"),
    "two-functions-of-correlated-values": (lambda a, b, c: F.relu(a) + F.relu(a + b), "both depend on 'layers.0"),
    "function-of-that-sum": (lambda a, b, c: F.relu(a + F.relu(a + b)), "four dimensions"),
    "one-value-in-two-functions": (lambda a, b, c: a + b + F.relu(a + c) + F.relu(b - a), "both depend"),
    "dependent-product": (lambda a, b, c: F.relu(a) * (a + b), "multiplies two values that both depend on 'layers.0"),
    "relu-of-product": (lambda a, b, c: F.relu(a * b), "needs a Gaussian input"),
    "relu-of-a-shifted-group": (lambda a, b, c: F.relu(F.layer_norm(torch.cat([F.relu(a), b], 1), (16,))), "needs a Gaussian input"),
    "quotient": (lambda a, b, c: a / b, "divides by a value"),
    "softmax": (lambda a, b, c: a.softmax(-1), "softmax"),
    "kink-of-unknown-place": (lambda a, b, c: F.relu(torch.tanh(a) - 0.5), "kinks are not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_closed_form_is_refused(name):
    join, pattern = REFUSED[name]
    with pytest.raises(tt.UnsupportedError, match=pattern):
        kernels(join)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(tt.UnsupportedError, match="broadcast"):
        kernels(lambda a, *_: a + torch.ones(9, 1, 8, dtype=torch.float64))
    with pytest.raises((tt.UnsupportedError, ValueError), match=r"channels|shape"):
        kernels(lambda a, b, *_: a + b, widths=(4, 6))
    with pytest.raises((tt.UnsupportedError, ValueError), match="channels"):
        kernels(lambda a, b, *_: a * b, widths=(4, 1))


FINITE = {
    "product": lambda a, b, c: F.relu(a) * torch.sigmoid(b) + c,
    "mixture": lambda a, b, c: torch.cat([F.relu(a), torch.erf(b), c], 1),
    "stein": lambda a, b, c: a - 2 * F.relu(b - a / 2) + F.relu(c),
    "one-function": lambda a, b, c: a * torch.tanh(a) - F.relu(b + c),
    "means": lambda a, b, c: F.relu(a) + F.silu(b) - c.abs(),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
def test_expected_kernels_of_finite_networks(name):
    """One hidden layer: the expected kernels are exact at any width."""
    net = Net(FINITE[name], head=24 if name == "mixture" else 8)
    check(net, points()[:3].float(), 2000)


def test_means_of_data_in_tiles():
    x = points()
    whole, own = tt.kernels(RawSkip(), x, backend="reference"), tt.kernels(RawSkip(), x, diagonal=True, tile=2)
    torch.testing.assert_close(tt.kernels(RawSkip(), x, backend="reference", tile=2), whole, rtol=EXACT, atol=EXACT)
    torch.testing.assert_close(own.nngp, whole.nngp.diagonal(), rtol=EXACT, atol=EXACT)


def special(name):
    """Equal, nearly equal, opposite and vanishing inputs, and different ones with flat ground."""
    x = inputs(name, 3, torch.float32)
    if x.ndim == 4:
        x[1:, :, 2:], x[1, :, :, 3:] = 0.5, 0.5
    near = x[:1] * (1 + 1e-6 * torch.randn_like(x[:1]))
    return torch.cat([x, x[:1], near, -x[1:2], torch.zeros_like(x[:1])])


@pytest.mark.parametrize("name", cases_composition.NETS)
def test_single_precision(name):
    assert worst(cases_composition.NETS[name](), special(name)) < FLOAT32


@pytest.mark.parametrize("shape", [(6, 6), (1, 6, 6), (2, 1, 6, 6)])
def test_a_mean_is_repeated_over_known_factors(shape):
    class Spread(torch.nn.Module):
        def __init__(self, last):
            super().__init__()
            self.a, self.last = n.Conv2d(3, 4, 1), last

        def forward(self, x):
            return (
                self.a(x).mean((2, 3), keepdim=True) * torch.linspace(0, 1, 36, dtype=x.dtype).reshape(6, 6).expand(shape)
            ).mean(self.last)

    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    mean = tt.nngp(torch.nn.Sequential(n.Conv2d(3, 4, 1), n.GlobalAvgPool()), x)
    factors = torch.linspace(0, 1, 36, dtype=torch.float64)
    torch.testing.assert_close(tt.nngp(Spread((2, 3)), x), mean / 4)
    whole = tt.nngp(Spread((3,)), x)
    rows = factors.reshape(6, 6).mean(1)
    torch.testing.assert_close(whole, mean[:, :, None, None] * rows[:, None] * rows)
