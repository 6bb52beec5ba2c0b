"""Kernels of random finite networks, against those of infinite width, with their errors and seeds."""

import copy

import pytest
import torch
from torch import nn

import torchtangents as tt
from torchtangents.monte_carlo import sampled

from .empirical.oracle import Leaf, jacobians, kernel
from .finite_networks import Language, d, outputs, settled

n = tt.nn
LAW = {"w_std": 1.4, "b_std": 0.3}
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
IMAGES = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_definition(x, kinds=("nngp", "ntk")):
    """A stand-in for `tt.empirical.kernels`: the same kernels from whole Jacobians."""

    def compute(net):
        f = outputs(net, x).detach()
        both = {"nngp": f @ f.T / f.shape[1], "ntk": kernel(*jacobians(net, x), *jacobians(net, x))}
        return {kind: both[kind] for kind in kinds}

    return compute


def one(model, x, count, seed=0, reset=None):
    generator = torch.Generator().manual_seed(seed)
    return next(sampled(model, by_definition(x), [count], generator, reset))


def dense(width, activation=nn.ReLU, **law):
    law = law or LAW
    return nn.Sequential(
        n.Linear(6, width, **law), activation(), n.Linear(width, width, **law), activation(), n.Linear(width, 2, **law)
    )


NETS = {  # network, inputs, what 1/width leaves of the kernel
    "relu": (lambda: dense(64), X, 3 / 64),
    "erf": (lambda: dense(64, n.Erf), X, 3 / 64),
    "standard": (lambda: dense(64, parameterization="standard", w_std=1.4, b_std=0.3), X, 3 / 64),
    "shallow": (lambda: nn.Sequential(n.Linear(6, 16, **LAW), nn.Tanh(), n.Linear(16, 2, **LAW)), X, 0),
    "convolution": (
        lambda: nn.Sequential(n.Conv2d(2, 32, 3, padding=1, **LAW), nn.ReLU(), n.GlobalAvgPool(), n.Linear(32, 2, **LAW)), IMAGES, 0
    ),
    "plain": (lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)), X, 0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_agrees_with_infinite_width(name):
    make, x, bias = NETS[name]
    torch.manual_seed(0)
    net = make().double()
    estimate = one(net, x, 150)
    exact = tt.kernels(tt.from_torch(net) if name == "plain" else net, x)
    for kind in ("nngp", "ntk"):
        found, error, wanted = (getattr(estimate, kind), getattr(estimate, f"{kind}_error"), getattr(exact, kind))
        assert ((found - wanted).abs() < 4 * error + bias * wanted.diagonal().max()).all()
        assert (error > 0).all()
        assert (error < 0.2 * wanted.diagonal().max()).all()


def test_mean_and_error_are_those_of_the_samples():
    net, seen = dense(8).double(), []

    def compute(each):
        seen.append(by_definition(X)(each))
        return seen[-1]

    estimate = next(sampled(net, compute, [7], torch.Generator().manual_seed(0), None))
    assert estimate.n_samples == len(seen) == 7
    for kind in ("nngp", "ntk"):
        samples = torch.stack([each[kind] for each in seen])
        assert torch.allclose(getattr(estimate, kind), samples.mean(0))
        assert torch.allclose(getattr(estimate, f"{kind}_error"), samples.std(0) / 7**0.5)


def test_error_shrinks_with_the_root_of_the_count():
    net = dense(16).double()
    few, many = sampled(net, by_definition(X), [30, 270], torch.Generator().manual_seed(0), None)
    assert 2.3 < (few.ntk_error / many.ntk_error).mean() < 3.7  # 3


def test_streaming_gives_the_estimates_of_single_calls():
    net = dense(8).double()
    stream = list(sampled(net, by_definition(X), [3, 5, 12], torch.Generator().manual_seed(3), None))
    assert [each.n_samples for each in stream] == [3, 5, 12]
    for each in stream:
        whole = one(net, X, each.n_samples, seed=3)
        assert torch.equal(each.ntk, whole.ntk)
        assert torch.equal(each.nngp_error, whole.nngp_error)


def test_seeds_and_the_global_state():
    net = dense(8).double()
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    first = one(net, X, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())
    torch.manual_seed(11)
    assert torch.equal(one(net, X, 3).ntk, first.ntk)
    assert not torch.equal(one(net, X, 3, seed=1).ntk, first.ntk)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(next(sampled(net, by_definition(X), [2], None, None)).ntk)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_one_kernel_only():
    estimate = next(sampled(dense(8).double(), by_definition(X, ("ntk",)), [2], None, None))
    assert estimate.nngp is None
    assert estimate.nngp_error is None
    assert estimate.ntk.shape == estimate.ntk_error.shape == (4, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 2)),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)),
        lambda: nn.Sequential(n.Linear(6, 6), n.LayerNorm(6), n.Linear(6, 2)),
        lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), Leaf(nn.LSTM(2, 4, batch_first=True)), nn.Flatten(), nn.Linear(12, 2)),
        lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), nn.TransformerEncoderLayer(2, 1, 4, batch_first=True), nn.Flatten()),
    ],
)
def test_modules_of_torch_that_reset_themselves(make):
    net = make().double().eval()
    estimate = one(net, X, 2)
    assert torch.isfinite(estimate.ntk).all()
    assert (estimate.ntk_error > 0).all()


def test_resets_run_from_the_inside_out():
    """torch's attention draws in_proj_weight and sets biases of a layer inside to 0, after that layer's own reset."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 1, batch_first=True)

        def forward(self, x):
            assert (self.attention.out_proj.bias == 0).all()
            return self.attention(x[:, None], x[:, None], x[:, None], need_weights=False)[0][:, 0]

    net = Attention().double()
    nn.init.ones_(net.attention.out_proj.bias)
    with pytest.raises(AssertionError):
        net(X)
    one(net, X, 2)


class Bare(nn.Module):
    """A parameter that nothing draws."""

    def __init__(self):
        super().__init__()
        self.layer, self.gain = nn.Linear(6, 2), nn.Parameter(torch.ones(2))

    def forward(self, x):
        return self.layer(x) * self.gain


class Forgetful(Bare):
    """A reset_parameters that leaves some out."""

    def reset_parameters(self):
        self.layer.reset_parameters()


def weight_norm():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Bare, r"gain: expected a parameter that Bare.reset_parameters draws anew.*reset="),
        (Forgetful, "gain: .*Forgetful.reset_parameters"),
        (lambda: nn.Sequential(nn.ReLU(), Bare()), "1.gain: "),
        (weight_norm, r"0.parametrizations.weight.original0: "),
        (Language, r"head.weight and embed.weight are one parameter.*reset="),
        (lambda: nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2)), r"1 \(BatchNorm1d\) is in training mode"),
        (lambda: nn.LazyLinear(2), "run its forward once first"),
    ],
)
def test_parameters_that_nothing_draws_are_refused(make, message):
    net = make()
    before = copy.deepcopy(net.state_dict()) if not isinstance(net, nn.LazyLinear) else {}
    with pytest.raises(ValueError, match=message):
        tt.monte_carlo(net, X, n_samples=2)
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())


def test_a_reset_of_the_users():
    net = settled(Language())
    tokens = {"tokens": torch.arange(8).reshape(2, 4) % 7}

    def reset(net):
        for p in net.parameters():
            nn.init.normal_(p, std=0.5)

    class First(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, tokens):
            return self.net(tokens)["pooled"]

    estimate = one(First(net), tokens, 3, reset=reset)
    assert estimate.ntk.shape == (2, 2)
    assert (estimate.ntk_error > 0).all()
    with pytest.raises(ValueError, match=r"net.position: expected a parameter that .* draws anew"):
        one(First(net), tokens, 3, reset=lambda net: None)


def test_refused_arguments():
    net = dense(4).double()
    for count in (1, 0, 2.5, [], [4, 4], [1, 5]):
        with pytest.raises(ValueError, match="n_samples: expected"):
            tt.monte_carlo(net, X, n_samples=count)
    for kinds in ("gp", (), ("ntk", "gp")):
        with pytest.raises(ValueError, match="kernels: expected 'nngp', 'ntk' or both"):
            tt.monte_carlo(net, X, n_samples=2, kernels=kinds)


@pytest.mark.skipif(not hasattr(tt.empirical, "kernels"), reason="tt.empirical.kernels is not here")
@pytest.mark.parametrize("kinds", ["nngp", "ntk", ("nngp", "ntk")])
def test_the_public_function(kinds):
    net, x2 = dense(8).double(), d(3, 6)
    estimate = tt.monte_carlo(net, X, n_samples=3, generator=torch.Generator().manual_seed(0), kernels=kinds)
    wanted = one(net, X, 3)
    for kind in ("nngp", "ntk"):
        for part in (kind, f"{kind}_error"):
            found = getattr(estimate, part)
            assert found is None if kind not in kinds else torch.allclose(found, getattr(wanted, part), rtol=1e-9, atol=1e-12)
    cross = list(tt.monte_carlo(net, X, x2, n_samples=[2, 3], trace_axes=(), generator=torch.Generator().manual_seed(0)))
    assert [each.n_samples for each in cross] == [2, 3]
    assert cross[1].ntk.shape == cross[1].ntk_error.shape == (4, 3, 2, 2)
