"""Finite networks drawn at random: with one hidden layer the expected empirical kernels are exact at any width."""

import math
import os

import pytest
import torch
from torch.func import functional_call, jacrev, vmap
from torch.nn import Flatten, Sequential

import torchtangents as tt

n = tt.nn
STANDARD = {"parameterization": "standard", "w_std": 1.3, "b_std": 0.4}


class Block(torch.nn.Module):
    """x -> conv(x) + relu(conv'(x)), then an average."""

    def __init__(self):
        super().__init__()
        self.a, self.b = conv(), conv()

    def forward(self, x):
        return (self.a(x) + torch.relu(self.b(x))).mean((2, 3))


def conv(**options):
    return n.Conv2d(2, 8, 3, **{"padding": 1, "w_std": 1.3, "b_std": 0.4, **options})


def head(i, **options):
    return n.Linear(i, 1, **{"w_std": 1.1, "b_std": 0.3, **options})


NETS = {
    "linear": lambda: Sequential(Flatten(), n.Linear(40, 8, w_std=1.5), n.ReLU(), head(8)),
    "linear-standard": lambda: Sequential(Flatten(), n.Linear(40, 8, **STANDARD), n.ReLU(), head(8, parameterization="standard")),
    "flatten": lambda: Sequential(conv(), n.ReLU(), Flatten(), head(160)),
    "pool-standard": lambda: Sequential(conv(**STANDARD), n.ReLU(), n.GlobalAvgPool(), head(8, parameterization="standard")),
    "stride-dilation": lambda: Sequential(conv(stride=2, dilation=(2, 1)), n.LeakyReLU(0.3), n.GlobalSumPool(), head(8)),
    "circular": lambda: Sequential(conv(padding_mode="circular", stride=(1, 2)), n.Erf(), n.GlobalAvgPool(), head(8)),
    "same": lambda: Sequential(n.Conv2d(2, 8, (2, 4), padding="same"), n.Abs(), Flatten(), head(160)),
    "avg-pool": lambda: Sequential(conv(), n.ReLU(), n.AvgPool2d(2, 1, padding=1, count_include_pad=False), Flatten(), head(240)),
    "sum-pool": lambda: Sequential(conv(), n.SumPool2d(2, 1), n.GELU(), n.GlobalAvgPool(), head(8)),
    "pads": lambda: Sequential(conv(), n.Tanh(), n.ZeroPad2d((1, 0, 0, 2)), n.CircularPad2d(1), n.AvgPool2d(3), Flatten(), head(32)),
    "adaptive": lambda: Sequential(conv(), n.Sin(), n.AdaptiveAvgPool2d((3, 2)), Flatten(), head(48)),
    "sum-of-branches": lambda: Sequential(Block(), head(8)),
    "silu": lambda: Sequential(conv(), n.SiLU(), Flatten(), head(160)),
    "rbf": lambda: Sequential(conv(), n.RBF(0.5), Flatten(), head(160)),
}  # fmt: skip


def draw(net, count):
    """Parameters of `count` networks, from each layer's own law."""
    out = {}
    for name, layer in net.named_modules():
        if hasattr(layer, "law"):
            fan_in = layer.in_features if isinstance(layer, n.Linear) else layer.fan_in
            ntk = layer.parameterization == "ntk"
            out[f"{name}.weight"] = torch.randn(count, *layer.weight.shape) * (1 if ntk else layer.w_std / math.sqrt(fan_in))
            out[f"{name}.bias"] = torch.randn(count, *layer.bias.shape) * (1 if ntk else layer.b_std)
    return out


def check(net, x, count):
    k = tt.kernels(net, x)
    weights = draw(net, count)

    def output(w):
        return functional_call(net, w, (x,))[:, 0]

    def one(w):
        f = output(w)
        jacobian = jacrev(output)(w)
        flat = torch.cat([j.reshape(len(x), -1) for j in jacobian.values()], 1)
        return f[:, None] * f[None], flat @ flat.T

    samples = vmap(one, chunk_size=500)(weights)
    for drawn, exact in zip(samples, k, strict=True):
        error = drawn.std(0) / math.sqrt(count)
        assert ((drawn.mean(0) - exact).abs() < 4 * error + 1e-6).all(), (drawn.mean(0), exact, error)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_expected_kernels_of_finite_networks(name):
    check(NETS[name](), torch.randn(3, 2, 4, 5), 2000)


@pytest.mark.long
@pytest.mark.parametrize("name", NETS)
def test_many_draws(name):
    check(NETS[name](), torch.randn(3, 2, 4, 5), int(os.environ.get("TORCHTANGENTS_DRAWS", 50000)))


@pytest.mark.slow
@pytest.mark.parametrize("act", [torch.nn.ReLU, n.Erf])
def test_layer_norm_with_trained_gain_and_bias(act):
    """Normalisation is exact only at infinite width: a wide layer, and a bias of a few over the width is allowed."""
    width, count = 512, 400
    net = Sequential(n.Linear(6, width, w_std=1.5), n.LayerNorm(width), act(), head(width))
    x = torch.randn(3, 6)
    weights = draw(net, count) | {k: v.detach().expand(count, *v.shape) for k, v in net.named_parameters() if k.startswith("1.")}

    def one(w):
        jacobian = jacrev(lambda w: functional_call(net, w, (x,))[:, 0])(w)
        flat = torch.cat([j.reshape(3, -1) for j in jacobian.values()], 1)
        return flat @ flat.T

    drawn = vmap(one, chunk_size=50)(weights)
    exact = tt.ntk(net, x)
    allowed = 4 * drawn.std(0) / math.sqrt(count) + 4 / width * exact.diagonal().max()
    assert ((drawn.mean(0) - exact).abs() < allowed).all()
