"""A user's own forward runs as it stands."""

import pytest
import torch
import torch.nn.functional as F

import torchtangents as tt

n = tt.nn


class Base(torch.nn.Module):
    """One network, whose forward the subclasses write in other ways."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.out = n.Conv2d(3, 6, 3, padding=1), n.Linear(6 * 36, 2)
        self.layers = torch.nn.ModuleList([n.Conv2d(6, 6, 3, padding=1) for _ in range(2)])
        self.act = torch.nn.ReLU(inplace=True)


class Flat(Base):
    def forward(self, x):
        return self.out(F.relu(self.conv(x)).flatten(1))


class View(Base):
    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.out(x.view(x.size(0), -1))


class Unpack(Base):
    def forward(self, x):
        x = self.conv(x).relu()
        b, c, h, w = x.shape
        assert len(x) == b
        assert x.ndim == 4
        assert x.size(1) == 6
        if x.shape[-1] > 4:
            x = x.reshape(b, c * h * w)
        return self.out(x)


class Loop(Base):
    def forward(self, x):
        x = self.conv(x)
        for i in range(x.size(1)):
            assert i < 6
        assert isinstance(x, torch.Tensor)
        assert f"{x.shape[1]}" == "6"
        return self.out(torch.flatten(self.act(x), 1))


class InPlace(Base):
    def forward(self, x):
        x = self.conv(x)
        F.relu_(x)
        return self.out(x.flatten(start_dim=1))


class Permuted(Base):
    def forward(self, x):
        x = self.act(self.conv(x)).permute(0, 2, 3, 1)
        return self.out(x.permute(0, 3, 1, 2).contiguous().view(x.shape[0], -1))


SAME = [View, Unpack, Loop, InPlace, Permuted]


class Plus(Base):
    def forward(self, x):
        x = self.conv(x)
        for layer in self.layers:
            x = x + layer(F.relu(x))
        return x.mean((-2, -1))


class Iadd(Base):
    def forward(self, x):
        x = self.conv(x)
        for layer in self.layers:
            y = layer(x.relu())
            y += x
            x = y
        return x.mean([2, 3])


class Pooled(Base):
    def forward(self, x):
        x = self.conv(x)
        for i in range(len(self.layers)):
            x = torch.add(self.layers[i](torch.clamp(x, min=0)), x)
        return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)


class Halves(Base):
    def forward(self, x):
        x = self.conv(x)
        for layer in self.layers:
            x = (2 * x + 2 * layer(F.relu(x))) / 2 - 0
        return x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])


def images():
    return torch.randn(3, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", SAME)
def test_spellings_of_one_network_agree(kind):
    x = images()
    reference = tt.kernels(Flat(), x)
    torch.testing.assert_close(tt.kernels(kind(), x), reference, rtol=1e-14, atol=0)
    torch.testing.assert_close(kind().double()(x), Flat().double()(x))


@pytest.mark.parametrize("kind", [Iadd, Pooled, Halves])
def test_spellings_of_one_residual_network_agree(kind):
    torch.testing.assert_close(tt.kernels(kind(), images()), tt.kernels(Plus(), images()), rtol=1e-13, atol=0)


FUNCTIONS = {
    "relu": (n.ReLU(), [torch.nn.ReLU(), F.relu, torch.relu, lambda x: x.relu(), lambda x: x.clamp(min=0), lambda x: x.clone().relu_()]),
    "leaky": (n.LeakyReLU(0.1), [torch.nn.LeakyReLU(0.1), lambda x: F.leaky_relu(x, 0.1)]),
    "abs": (n.Abs(), [torch.abs, lambda x: x.abs(), abs]),
    "gelu": (n.GELU(), [torch.nn.GELU(), F.gelu]),
    "gelu-tanh": (n.GELU("tanh"), [lambda x: F.gelu(x, approximate="tanh")]),
    "erf": (n.Erf(), [torch.erf, lambda x: x.erf()]),
    "sin": (n.Sin(), [torch.sin]),
    "cos": (n.Cos(), [torch.cos]),
    "sign": (n.Sign(), [torch.sign]),
    "tanh": (n.Tanh(), [torch.nn.Tanh(), torch.tanh, F.tanh, lambda x: x.tanh(), lambda x: x.clone().tanh_()]),
    "sigmoid": (n.Sigmoid(), [torch.nn.Sigmoid(), torch.sigmoid, F.sigmoid]),
    "silu": (n.SiLU(), [torch.nn.SiLU(), F.silu]),
    "elu": (n.ELU(0.5), [torch.nn.ELU(0.5), lambda x: F.elu(x, 0.5), lambda x: F.elu(x, alpha=0.5)]),
    "softplus": (n.Softplus(), [torch.nn.Softplus(), F.softplus]),
    "hardtanh": (n.Hardtanh(), [torch.nn.Hardtanh(), F.hardtanh, lambda x: x.clamp(-1, 1)]),
    "flatten": (n.Flatten(), [torch.nn.Flatten(), lambda x: x.flatten(1), lambda x: x.reshape(len(x), -1)]),
    "pool": (n.AvgPool2d(2, 1), [torch.nn.AvgPool2d(2, 1), lambda x: F.avg_pool2d(x, 2, 1), lambda x: F.avg_pool2d(x, 2, stride=1)]),
    "pad": (n.ZeroPad2d((1, 0, 2, 1)), [torch.nn.ZeroPad2d((1, 0, 2, 1)), lambda x: F.pad(x, (1, 0, 2, 1))]),
    "circular": (n.CircularPad2d(1), [torch.nn.CircularPad2d(1), lambda x: F.pad(x, (1, 1, 1, 1), mode="circular")]),
    "global": (n.GlobalAvgPool(), [lambda x: x.mean((-2, -1)), lambda x: x.mean(-1).mean(-1), lambda x: x.flatten(2).mean(2)]),
    "global-sum": (n.GlobalSumPool(), [lambda x: x.sum((2, 3)), lambda x: torch.sum(x, dim=(2, 3))]),
    "identity": (n.Identity(), [torch.nn.Identity(), lambda x: x + 0, lambda x: -(-x), lambda x: x.transpose(2, 3).transpose(3, 2)]),
    "layer-norm": (n.LayerNorm((4, 2, 2), elementwise_affine=False), [lambda x: F.layer_norm(x, (4, 2, 2))]),
    "adaptive": (n.AdaptiveAvgPool2d(1), [torch.nn.AdaptiveAvgPool2d(1), lambda x: F.adaptive_avg_pool2d(x, (1, 1))]),
}  # fmt: skip


class Wrapped(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = n.Conv2d(2, 4, 4, w_std=1.5), function

    def forward(self, x):
        return self.function(self.conv(x))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_modules_and_functions_meet_one_rule(name):
    layer, others = FUNCTIONS[name]
    x, y = torch.randn(2, 2, 5, 5, dtype=torch.float64), torch.randn(2, 4, 2, 2, dtype=torch.float64)
    reference = tt.kernels(Wrapped(layer), x)
    for other in others:
        torch.testing.assert_close(tt.kernels(Wrapped(other), x), reference, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(other(y), layer(y))


def test_deterministic_start_runs_on_tensors():
    """What comes before the first random layer is arithmetic on data."""
    body = [n.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), n.Linear(4 * 16, 1)]
    start = torch.nn.Sequential(torch.nn.MaxPool2d(2, 1), torch.nn.ZeroPad2d((1, 0, 1, 0)))
    x = images()
    torch.testing.assert_close(tt.ntk(torch.nn.Sequential(start, *body), x), tt.ntk(torch.nn.Sequential(*body), start(x)))


def test_flatten_before_a_linear_on_data():
    x = images()
    net = torch.nn.Sequential(torch.nn.Flatten(), n.Linear(108, 8), torch.nn.ReLU(), n.Linear(8, 1))
    torch.testing.assert_close(tt.ntk(net, x), tt.ntk(net[1:], x.flatten(1)))


class TwoInputs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = n.Linear(3, 8), n.Linear(4, 8), n.Linear(8, 1)

    def forward(self, x, y):
        return self.out(torch.relu(self.a(x) + self.b(y)))


def test_tuple_inputs():
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    k = tt.kernels(TwoInputs(), (x, y))
    assert k.ntk.shape == (5, 5)
    torch.testing.assert_close(tt.kernels(TwoInputs(), (x, y), (x[:2], y[:2])).ntk, k.ntk[:, :2])


def test_compiled_models_are_recorded():
    net = torch.compile(Flat())
    torch.testing.assert_close(tt.ntk(net, images()), tt.ntk(Flat(), images()))


def test_recording_leaves_the_model_alone():
    net = Flat()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    tt.ntk(net, images())
    assert list(before) == [
        "conv.weight",
        "conv.bias",
        "out.weight",
        "out.bias",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
    ]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert type(net(images().float())) is torch.Tensor
