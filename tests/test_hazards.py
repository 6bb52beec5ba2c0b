"""Every row of DESIGN's table "refuse, or be right", and more of the kind: the wrong answer cannot come back."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Sequential

import torchtangents as tt
from torchtangents.covariance.kinked import ABReLU
from torchtangents.covariance.pair import Pair

from .cases import ACTIVATIONS

n = tt.nn


class Own(torch.nn.Module):
    """A user's own forward over two Linear (or Conv) layers."""

    def __init__(self, function, images=False):
        super().__init__()
        self.a, self.b = (n.Conv2d(3, 4, 1), n.Conv2d(3, 4, 1)) if images else (n.Linear(3, 4), n.Linear(3, 4))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def vectors():
    return torch.randn(4, 3, dtype=torch.float64)


def images():
    return torch.randn(2, 3, 6, 6, dtype=torch.float64)


def first(x):
    """The kernel of one layer on vectors."""
    return x @ x.T / 3 + 0.01


def relu(k):
    v = k.diagonal()
    return ABReLU(0.0, 1.0).nngp(Pair(v[:, None], v[None], k))


def right_or_refused(net, x, expected, pattern):
    """A number must be the right one; an error must say where."""
    refusal = ""
    try:
        mine = tt.nngp(net, x)
    except tt.UnsupportedError as error:
        refusal = str(error)
    if refusal:
        assert any(word in refusal for word in pattern.split("|"))
    else:
        torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-7)


# h + h, dependent branches


def test_a_value_twice_is_not_two_independent_ones():
    x = vectors()
    torch.testing.assert_close(tt.nngp(Own(lambda m, x: (h := m.a(x)) + h), x), 4 * first(x))
    torch.testing.assert_close(tt.nngp(Own(lambda m, x: m.a(x) + m.b(x)), x), 2 * first(x))


DEPENDENT = {
    "smoothed": lambda m, x: (h := m.a(x)) + F.avg_pool2d(h, 3, 1, 1),
    "normed": lambda m, x: (h := m.a(x)) + F.layer_norm(h.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
    "padded": lambda m, x: (h := m.a(x)) + F.pad(h, (1, -1, 0, 0)),
    "averaged": lambda m, x: (h := m.a(x)) + h.mean((2, 3), keepdim=True),
    "dropped": lambda m, x: (h := m.a(x).relu()) + F.dropout(h, 0.5),
    "masked": lambda m, x: (h := m.a(x)) + h * torch.linspace(0, 1, 6, dtype=x.dtype),
    "data twice": lambda m, x: F.avg_pool2d(m.a(x) + torch.cat([x, x[:, :1]], 1), 3, 1, 1) + torch.cat([x, x[:, :1]], 1),
    "product": lambda m, x: (h := m.a(x)) * F.avg_pool2d(h, 3, 1, 1),
    "gate": lambda m, x: (h := m.a(x).relu()) * torch.sigmoid(h.mean((2, 3), keepdim=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_branches_are_refused(name):
    with pytest.raises(tt.UnsupportedError, match=r"Own: .*(depend on|Gaussian)"):
        tt.nngp(Own(DEPENDENT[name], images=True), images())


HALVES = {
    "chunk": lambda m, x: sum(m.a(x).chunk(2, 1)),
    "split": lambda m, x: sum(m.a(x).split(2, 1)),
    "slices": lambda m, x: (h := m.a(x))[:, :2] + h[:, 2:],
    "ellipsis": lambda m, x: (h := m.a(x))[..., :2] + h[..., 2:],
    "narrow": lambda m, x: (h := m.a(x)).narrow(1, 0, 2) + h.narrow(1, 2, 2),
    "unbind": lambda m, x: sum(m.a(x).unbind(1))[:, None],
    "select": lambda m, x: (h := m.a(x))[:, 0] + h[:, 1],
    "flip": lambda m, x: (h := m.a(x)) + h.flip(1),
    "roll": lambda m, x: (h := m.a(x)) + h.roll(1, 1),
    "permuted": lambda m, x: (h := m.a(x)) + h[:, [1, 0, 3, 2]],
}


@pytest.mark.parametrize("name", HALVES)
def test_other_channels_of_one_layer_are_not_the_same_value(name):
    """Two halves of one layer are independent: their sum has 2 K, not 4 K."""
    x = vectors()
    right_or_refused(Own(HALVES[name]), x, 2 * first(x), "no infinite-width rule|channels|index|no rule")


# Activations, concatenations, sums


def test_an_activation_of_a_concatenation_is_no_averaged_gaussian():
    x = vectors()
    k = first(x)
    net = Own(lambda m, x: F.relu(torch.cat([m.a(x), 3 * m.b(x)], 1)))
    torch.testing.assert_close(tt.nngp(net, x), (relu(k) + relu(9 * k)) / 2)
    assert float((relu(5 * k) - (relu(k) + relu(9 * k)) / 2).abs().max()) < 1e-12  # one slope: the averaged Gaussian agrees
    net = Own(lambda m, x: torch.erf(torch.cat([m.a(x), 3 * m.b(x)], 1)))
    erf = {scale: tt.nngp(Sequential(n.Linear(3, 4, w_std=scale, b_std=0.1 * scale), n.Erf()), x) for scale in (1, 3, 5**0.5)}
    torch.testing.assert_close(tt.nngp(net, x), (erf[1] + erf[3]) / 2)
    assert float((tt.nngp(net, x) - erf[5**0.5]).abs().max()) > 1e-2
    net = Own(lambda m, x: F.relu((h := m.a(x)) + F.relu(h)))
    torch.testing.assert_close(tt.nngp(net, x), relu(4 * k))


POST_ACTIVATION = {
    "identity": lambda m, x: F.relu(F.relu(m.a(x)) + m.b(x)),
    "both": lambda m, x: F.relu(F.relu(m.a(x)) + F.relu(m.b(x))),
    "smooth": lambda m, x: torch.erf(torch.erf(m.a(x)) - m.b(x)),
    "data": lambda m, x: F.relu(m.a(x) + torch.cat([x, x[:, :1]], 1)),
    "normed": lambda m, x: F.relu(F.layer_norm(F.relu(m.a(x)) + m.b(x), (4,))),
    "scaled": lambda m, x: F.relu(0.5 * (F.relu(m.a(x)) + m.b(x))),
    "product": lambda m, x: F.relu(m.a(x) * m.b(x)),
    "dropout": lambda m, x: F.relu(F.dropout(m.a(x), 0.5)),
}


@pytest.mark.parametrize("name", POST_ACTIVATION)
def test_functions_of_what_is_not_gaussian_are_refused(name):
    with pytest.raises(tt.UnsupportedError, match=r"Own: .*(four dimensions|needs a Gaussian)"):
        tt.nngp(Own(POST_ACTIVATION[name]), vectors())


def test_means_of_different_groups_do_not_meet():
    """dropout [relu a | a'] + dropout [b | relu b']: the averaged means, multiplied, would add m^2 / 2."""

    def function(m, x):
        dropped = F.dropout(torch.cat([F.relu(m.a(x)), m.c(x)], 1), 0.5)
        return dropped + F.dropout(torch.cat([m.b(x), F.relu(m.d(x))], 1), 0.5)

    net = Own(function)
    net.c, net.d = n.Linear(3, 4), n.Linear(3, 4)
    x = vectors()
    k = first(x)
    expected = relu(k) + k
    right_or_refused(net, x, expected + expected.diagonal().diag(), "from channel to channel")


def test_groups_of_data_are_cut_with_their_numbers():
    """[x | h] + [g | k] with other sizes: the channels of x meet g or k, each its own."""

    def function(m, x):
        return torch.cat([x, F.relu(m.a(x))], 1) + torch.cat([F.relu(m.b(x)), F.relu(m.c(x))], 1)

    net = Own(function)
    net.a, net.b, net.c = n.Linear(3, 3), n.Linear(3, 2, w_std=2.0), n.Linear(3, 4, w_std=3.0)
    x = vectors()
    k, kb, kc = (w * w * x @ x.T / 3 + 0.01 for w in (1, 2, 3))
    mb, mc = ((v.diagonal() / (2 * torch.pi)).sqrt() for v in (kb, kc))
    ma = (k.diagonal() / (2 * torch.pi)).sqrt()
    total = 2 * relu(kb) + 4 * relu(kc) + 3 * relu(k) + x @ x.T
    for level, channels in ((mb, x[:, :2].sum(1)), (mc, x[:, 2]), (mc, 3 * ma)):
        total = total + level[:, None] * channels + channels[:, None] * level
    torch.testing.assert_close(tt.nngp(net, x), total / 6, rtol=1e-12, atol=1e-12)


# Layers with no Gaussian limit

NO_LIMIT = {
    "token mixing": (lambda: Own(lambda m, x: m.mix(m.a(x).flatten(2)), images=True), {"mix": lambda: n.Linear(36, 36)}, r"mix \(Linear\).*positions"),
    "attention by hand": (lambda: Own(lambda m, x: (m.a(x).flatten(2) @ m.b(x).flatten(2).transpose(1, 2)).softmax(-1), images=True), {}, "Own: (matmul|__matmul__|bmm)"),
    "attention by function": (lambda: Own(lambda m, x: F.scaled_dot_product_attention(m.a(x), h := m.b(x), h), images=True), {}, "Own: scaled_dot_product_attention"),
    "einsum": (lambda: Own(lambda m, x: torch.einsum("bchw,bdhw->bcd", m.a(x), m.b(x)), images=True), {}, "Own: einsum"),
    "grouped": (lambda: Own(lambda m, x: m.g(m.a(x)), images=True), {"g": lambda: n.Conv2d(4, 4, 3, groups=2)}, r"g \(Conv2d\).*groups=2"),
    "depthwise": (lambda: Own(lambda m, x: m.g(m.a(x)), images=True), {"g": lambda: n.Conv2d(4, 4, 3, groups=4)}, r"g \(Conv2d\).*groups=4"),
    "max pool": (lambda: Own(lambda m, x: m.p(m.a(x)), images=True), {"p": lambda: torch.nn.MaxPool2d(2)}, r"p \(MaxPool2d\).*AvgPool"),
    "maximum": (lambda: Own(lambda m, x: torch.maximum(m.a(x), m.b(x))), {}, "Own: max"),
    "maxout": (lambda: Own(lambda m, x: m.a(x).amax(1)), {}, "Own: amax"),
    "softmax": (lambda: Own(lambda m, x: F.softmax(m.a(x), 1)), {}, "Own: softmax"),
    "batch norm": (lambda: Own(lambda m, x: m.p(m.a(x)), images=True), {"p": lambda: torch.nn.BatchNorm2d(4)}, r"p \(BatchNorm2d\)"),
    "batch statistics": (lambda: Own(lambda m, x: F.batch_norm(m.a(x), None, None, training=True), images=True), {}, "statistics of a batch"),
    "instance norm": (lambda: Own(lambda m, x: F.instance_norm(m.a(x)), images=True), {}, "Own: instance_norm"),
    "channels' norm": (lambda: Own(lambda m, x: F.normalize(m.a(x), dim=1)), {}, "Own: .*norm"),
    "mean over channels": (lambda: Own(lambda m, x: m.a(x).mean(1)), {}, "channels"),
    "over the batch": (lambda: Own(lambda m, x: m.a(x) - m.a(x).mean(0)), {}, "batch|already used"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_LIMIT)
def test_what_has_no_gaussian_limit_is_refused_by_name(name):
    build, layers, pattern = NO_LIMIT[name]
    net = build()
    for key, layer in layers.items():
        setattr(net, key, layer())
    x = images() if isinstance(net.a, torch.nn.Conv2d) else vectors()
    with pytest.raises(tt.UnsupportedError, match=pattern):
        tt.nngp(net, x)


def test_dropout_of_whole_channels():
    """It correlates the positions of one sample: K / keep at every pair of positions, not at equal ones only."""
    x = images()
    net = Sequential(n.Conv2d(3, 4, 1), torch.nn.Dropout2d(0.5), n.GlobalAvgPool())
    plain = tt.nngp(Sequential(net[0], net[2]), x)
    right_or_refused(net, x, plain + plain.diagonal().diag(), "dropout2d")


# Functions of the user's own


def test_kinks_that_were_not_named_are_found():
    for function in (torch.abs, lambda u: (u - 0.3).abs(), lambda u: torch.where(u > 1.2, u, 0.0), torch.floor):
        with pytest.raises(ValueError, match="breakpoints"):
            tt.nngp(Sequential(n.Linear(3, 4), n.Elementwise(function)), vectors())
    x = vectors()
    mine = tt.nngp(Sequential(n.Linear(3, 4), n.Elementwise(torch.relu, breakpoints=(0.0,))), x)
    torch.testing.assert_close(mine, relu(first(x)), rtol=0, atol=1e-8)


# Normalisation


def test_layer_norm_after_an_activation_subtracts_the_mean():
    x = vectors()
    k, m = relu(first(x)), (first(x).diagonal() / (2 * torch.pi)).sqrt()
    centred = k - m[:, None] * m[None]
    r = (centred.diagonal() + 1e-5).rsqrt()
    net = Sequential(n.Linear(3, 4), n.ReLU(), n.LayerNorm(4))
    torch.testing.assert_close(tt.nngp(net, x), r[:, None] * centred * r[None])


# Weights and layers that are not what they seem


def _tied():
    net = Sequential(n.Linear(3, 3), n.ReLU(), n.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


class Halved(n.Linear):
    def forward(self, input):
        return super().forward(input) / 2


def _patched():
    layer = n.Linear(3, 3)
    layer.forward = lambda x: 2 * torch.nn.functional.linear(x, layer.weight)
    return Sequential(layer)


NOT_WHAT_THEY_SEEM = {
    "used twice": (lambda: Own(lambda m, x: m.a(x) - m.a(-x)), r"a \(Linear\): its weight was already used in an earlier call"),
    "one module in two places": (lambda: Sequential(*[n.Linear(3, 3)] * 2), r"0 \(Linear\): its weight was already used in an earlier call"),
    "one parameter in two modules": (_tied, r"2 \(Linear\): its weight was already used by '0"),
    "forward overridden": (lambda: Sequential(Halved(3, 3)), r"0 \(Halved\).*overrides forward"),
    "forward patched": (_patched, r"0 \(Linear\).*overrides forward"),
    "weights read": (lambda: Own(lambda m, x: m.a(x) / m.a.weight.norm()), "'a.weight'"),
    "weights as data": (lambda: Own(lambda m, x: m.a(x) * m.a.weight.data.mean()), "'a.weight'"),
    "weights in a function": (lambda: Own(lambda m, x: F.linear(m.a(x), m.b.weight[:, :4])), "'b.weight'"),
    "noise": (lambda: Own(lambda m, x: m.a(x) + torch.randn(len(x), 4)), "Own: randn gives one random draw"),
    "noise like a value": (lambda: Own(lambda m, x: (h := m.a(x)) + torch.randn_like(h)), "Own: randn_like"),
    "dropout of data": (lambda: Own(lambda m, x: m.a(F.dropout(x, 0.5))), "Own: dropout gives one random draw"),
    "not trained": (lambda: Own(lambda m, x: m.b(_frozen(m.a, x))), "a.*no_grad"),
    "detached": (lambda: Own(lambda m, x: m.a(x).detach()), "Own: detach"),
}  # fmt: skip


def _frozen(layer, x):
    with torch.no_grad():
        return layer(x)


@pytest.mark.parametrize("name", NOT_WHAT_THEY_SEEM)
def test_refused_rather_than_guessed(name):
    build, pattern = NOT_WHAT_THEY_SEEM[name]
    with pytest.raises(tt.UnsupportedError, match=pattern):
        tt.ntk(build(), vectors())


BRANCHES = {
    "layers": lambda m, x: m.a(x) if x.sum() > 0 else m.b(x),
    "order": lambda m, x: m.c(F.relu(m.a(x))) + m.b(x) if x.sum() > 0 else m.c(F.relu(m.b(x))) + m.a(x),
    "activation": lambda m, x: F.relu(m.a(x)) if x.sum() > 0 else F.leaky_relu(m.a(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_on_the_data_are_refused(name):
    net = Own(BRANCHES[name])
    net.c = n.Linear(4, 4)
    x = vectors().abs()
    assert tt.ntk(net, x, 2 * x).shape == (4, 4)
    with pytest.raises(ValueError, match=r"depends on the data|branches on the shape or on the data"):
        tt.ntk(net, x, -x)


def test_evaluation_mode_draws_nothing():
    x = vectors()
    net = Own(lambda m, x: m.a(F.dropout(x, 0.5, training=m.training))).eval()
    torch.testing.assert_close(tt.nngp(net, x), first(x))


# Numbers


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_zero_equal_parallel_and_antiparallel_inputs(name):
    x = torch.randn(1, 3)
    x = torch.cat([x, x, 2 * x, -x, torch.zeros(1, 3)]).requires_grad_()
    k = tt.kernels(Sequential(n.Linear(3, 4, b_std=0.0), ACTIVATIONS[name](), n.Linear(4, 1)), x)
    (grad,) = torch.autograd.grad(k.nngp.sum() + k.ntk.sum(), x, allow_unused=True)
    assert torch.isfinite(k.nngp).all()
    assert torch.isfinite(k.ntk).all()
    assert torch.isfinite(grad).all()


def test_the_diagonal_in_single_precision_at_depth_20():
    layers, width = [], 3
    for _ in range(20):
        layers += [n.Linear(width, 4, w_std=2**0.5, b_std=0.0), n.ReLU()]
        width = 4
    net, x = Sequential(*layers, n.Linear(4, 1, b_std=0.0)), torch.randn(3, 3)
    v = x.double().square().mean(1)  # K is v at every layer but the last, and Theta adds K each time
    k = tt.kernels(net, x, x.clone())
    torch.testing.assert_close(k.nngp.diagonal().double(), v, rtol=1e-6, atol=0)
    torch.testing.assert_close(k.ntk.diagonal().double(), 21 * v, rtol=1e-5, atol=0)
