"""GroupNorm with one group and RMSNorm: by hand, torch's forward, and finite networks with their trained gain and bias."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, jacrev, vmap
from torch.nn import Sequential

import torchtangents as tt

from ..cases_layers import Apply
from .test_monte_carlo import draw

n = tt.nn


def images():
    return torch.randn(3, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def conv():
    return n.Conv2d(2, 6, 3, padding=1, w_std=1.3, b_std=0.3)


def sides(k):
    """The variances (N1, 1, *S, 1..) and (1, N2, 1.., *S) of (N1, N2, *S, *S)."""
    count, size = len(k), k.shape[2:4]
    v = torch.stack([k[i, i].reshape(size.numel(), -1).diagonal().reshape(size) for i in range(count)])
    return v[:, None, :, :, None, None], v[None, :, None, None]


def test_forward_is_that_of_torch():
    x = torch.randn(2, 6, 4, 3)
    torch.testing.assert_close(n.GroupNorm(1, 6)(x), torch.nn.GroupNorm(1, 6)(x))
    torch.testing.assert_close(n.RMSNorm((4, 3))(x), torch.nn.RMSNorm((4, 3))(x))
    assert set(n.GroupNorm(1, 6).state_dict()) == {"weight", "bias"}
    assert set(n.RMSNorm(6).state_dict()) == {"weight"}
    assert n.RMSNorm(6, elementwise_affine=False).weight is None


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_group_norm_by_hand(eps):
    """Centred Gaussians: K r1 r2 with one r an image; a trained gain adds K, a bias 1, at all pairs of positions."""
    x = images()
    k, t = tt.kernels(conv(), x)
    v1, v2 = (v.mean((2, 3, 4, 5), keepdim=True) for v in sides(k))
    scale = ((v1 + eps) * (v2 + eps)).rsqrt()
    plain = tt.kernels(Sequential(conv(), n.GroupNorm(1, 6, eps, affine=False)), x)
    torch.testing.assert_close(plain, type(plain)(k * scale, t * scale))
    head = n.Conv2d(6, 4, 1, b_std=0.0)
    affine = tt.kernels(Sequential(conv(), n.GroupNorm(1, 6, eps), head), x)
    torch.testing.assert_close(affine.nngp, k * scale)
    torch.testing.assert_close(affine.ntk, t * scale + k * scale + 1 + k * scale)


def test_layer_norm_has_a_gain_for_each_position_and_group_norm_one_for_all():
    x = images()
    shared = tt.ntk(Sequential(conv(), n.GroupNorm(1, 6), n.Conv2d(6, 4, 1)), x)
    own = tt.ntk(Sequential(conv(), n.LayerNorm((6, 4, 3)), n.Conv2d(6, 4, 1)), x)
    equal = torch.eye(12, dtype=torch.bool).reshape(4, 3, 4, 3).expand_as(own)
    torch.testing.assert_close(shared[equal], own[equal])
    nngp = tt.nngp(Sequential(conv(), n.LayerNorm((6, 4, 3)), n.Conv2d(6, 4, 1, b_std=0.0)), x)
    torch.testing.assert_close(shared[~equal], own[~equal] + nngp[~equal] + 1)


@pytest.mark.parametrize("eps", [None, 0.3])
def test_rms_norm_by_hand(eps):
    """Behind a ReLU the mean stays: r is that of the second moment, and E y^2 = v / (v + eps)."""
    x = images()
    before = Sequential(conv(), n.ReLU())
    k, t = tt.kernels(before, x)
    least = torch.finfo(torch.float64).eps if eps is None else eps
    v1, v2 = (v.mean((2, 3, 4, 5), keepdim=True) for v in sides(k))
    scale = ((v1 + least) * (v2 + least)).rsqrt()
    plain = tt.kernels(Sequential(*before, n.RMSNorm((6, 4, 3), eps, elementwise_affine=False)), x)
    torch.testing.assert_close(plain, type(plain)(k * scale, t * scale))
    equal = torch.eye(12, dtype=torch.float64).reshape(4, 3, 4, 3)
    trained = tt.ntk(Sequential(*before, n.RMSNorm((6, 4, 3), eps), n.Conv2d(6, 4, 1, b_std=0.0)), x)
    torch.testing.assert_close(trained, t * scale + k * scale * (1 + equal))
    last = tt.kernels(Sequential(n.Linear(3, 6, b_std=0.2), n.RMSNorm(6, eps, elementwise_affine=False)), x[:, 0])
    assert last.nngp.shape == (3, 3, 4, 4)
    own = last.nngp[0, 0].diagonal()
    first = tt.nngp(n.Linear(3, 6, b_std=0.2), x[:, 0])[0, 0].diagonal()
    torch.testing.assert_close(own, first / (first + least))


def test_eps_of_rms_norm_is_that_of_the_data():
    """Where inputs are small it decides: torch divides by sqrt(v + machine epsilon)."""
    x = torch.full((1, 4), 1e-4)
    net = Sequential(n.Linear(4, 8, b_std=0.0), n.RMSNorm(8))
    for dtype in (torch.float32, torch.float64):
        expected = 1e-8 / (1e-8 + torch.finfo(dtype).eps)
        assert float(tt.nngp(net, x.to(dtype))) == pytest.approx(expected, rel=1e-5)


def test_functions_and_plain_modules_meet_the_rule():
    x = images()

    def same(layer, *others):
        reference = tt.kernels(Sequential(conv(), layer, n.ReLU()), x)
        for other in others:
            torch.testing.assert_close(tt.kernels(Sequential(conv(), Apply(other), n.ReLU()), x), reference)

    same(n.GroupNorm(1, 6, affine=False), torch.nn.GroupNorm(1, 6, affine=False), lambda h: F.group_norm(h, 1))
    same(n.GroupNorm(1, 6, 0.1, affine=False), lambda h: F.group_norm(h, 1, eps=0.1))
    plain = n.RMSNorm((6, 4, 3), elementwise_affine=False)
    same(
        plain,
        torch.nn.RMSNorm((6, 4, 3), elementwise_affine=False),
        lambda h: F.rms_norm(h, (6, 4, 3)),
        lambda h: F.rms_norm(h, [6, 4, 3], None, None),
    )
    same(n.LayerNorm((6, 4, 3), elementwise_affine=False), n.GroupNorm(1, 6, affine=False), lambda h: F.layer_norm(h, (6, 4, 3)))


def test_shapes_are_checked():
    x = images()
    for layer, pattern in (
        (n.GroupNorm(1, 5), r"1 \(GroupNorm\): expected 5 channels"),
        (n.RMSNorm((6, 4)), r"1 \(RMSNorm\): expected a value that ends in \(6, 4\)"),
        (Apply(lambda h: F.layer_norm(h, (6, 4))), r"1 \(Apply\): expected a value that ends in \(6, 4\)"),
        (Apply(lambda h: F.rms_norm(h, (7, 4, 3))), r"1 \(Apply\): expected a value that ends in \(7, 4, 3\)"),
    ):
        with pytest.raises(ValueError, match=pattern):
            tt.ntk(Sequential(conv(), layer), x)


NETS = {
    "group": lambda w: Sequential(n.Conv1d(2, w, 2, w_std=1.5, b_std=0.3), n.GroupNorm(1, w), n.ReLU(), n.GlobalAvgPool(), n.Linear(w, 1)),
    "group-erf": lambda w: Sequential(n.Conv1d(2, w, 2, w_std=1.5), n.GroupNorm(1, w, 0.1), n.Erf(), n.GlobalAvgPool(), n.Linear(w, 1)),
    "group-after-relu": lambda w: Sequential(n.Conv1d(2, w, 2, w_std=1.5), n.ReLU(), n.GroupNorm(1, w), n.GlobalAvgPool(), n.Linear(w, 1)),
    "group-on-features": lambda w: Sequential(torch.nn.Flatten(), n.Linear(8, w, w_std=1.5), n.GroupNorm(1, w), n.ReLU(), n.Linear(w, 1)),
    "rms": lambda w: Sequential(torch.nn.Flatten(), n.Linear(8, w, w_std=1.5), n.RMSNorm(w), n.ReLU(), n.Linear(w, 1)),
    "rms-after-relu": lambda w: Sequential(torch.nn.Flatten(), n.Linear(8, w, w_std=1.5), n.ReLU(), n.RMSNorm(w), n.Linear(w, 1)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_finite_networks_with_trained_gain_and_bias(name):
    """Statistics over channels are exact only at infinite width: 4 / width of the largest entry is allowed."""
    width, count = 256, 400
    net, x = NETS[name](width), torch.randn(2, 2, 4)
    at = next(i for i, layer in enumerate(net) if "Norm" in type(layer).__name__)
    trained = {k: v.detach().expand(count, *v.shape) for k, v in net.named_parameters() if k.startswith(f"{at}.")}
    assert trained

    def one(w):
        f = functional_call(net, w, (x,))[:, 0]
        jacobian = jacrev(lambda w: functional_call(net, w, (x,))[:, 0])(w)
        flat = torch.cat([j.reshape(2, -1) for j in jacobian.values()], 1)
        return f[:, None] * f, flat @ flat.T

    for drawn, exact in zip(vmap(one, chunk_size=50)(draw(net, count) | trained), tt.kernels(net, x), strict=True):
        allowed = 4 * drawn.std(0) / math.sqrt(count) + 4 / width * exact.diagonal().max()
        assert ((drawn.mean(0) - exact).abs() < allowed).all(), (drawn.mean(0), exact)
