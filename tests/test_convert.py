"""tt.from_torch: plain models get their kernels, under the variance of PyTorch's own initialisation."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn import Sequential

import torchtangents as tt

from .plain_models import MODELS

WIDTH, OUTPUTS, DRAWS = 64, 16, 60


def images(count=3, dtype=torch.float32):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(4), dtype=dtype)


def built(name, width=8):
    return MODELS[name](width).eval()


def plain_layers(model):
    return [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("name", MODELS)
def test_forward_is_unchanged(name, parameterization):
    model, x = built(name), images()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for stds in ({}, {"w_std": 1.7, "b_std": 0.3}):
        net = tt.from_torch(model, **stds, parameterization=parameterization)
        torch.testing.assert_close(net(x), model(x), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert list(net.state_dict()) == list(before)
    assert all(type(m) is getattr(nn, type(m).__name__) for m in plain_layers(model))
    assert all(isinstance(m, tt.Layer) for m in plain_layers(net))


@pytest.mark.parametrize("name", MODELS)
def test_kernels_under_the_variance_of_the_default_initialisation(name):
    """Both parametrisations have one NNGP; every layer has w_std^2 = 1/3, so the variance of its weights is 1 / (3 fan_in)."""
    model, x = built(name), images(dtype=torch.float64)
    standard, ntk = (tt.kernels(tt.from_torch(model, parameterization=p), x) for p in ("standard", "ntk"))
    torch.testing.assert_close(standard.nngp, ntk.nngp, rtol=1e-9, atol=1e-12)
    for part in (*standard, *ntk):
        assert part.shape == (3, 3)
        assert float(torch.linalg.eigvalsh(part)[0]) > 0
    wide, _ = (torch.nn.init.kaiming_uniform_(torch.empty(400, f), a=math.sqrt(5)) for f in (50, 60))
    assert float(wide.var()) == pytest.approx(1 / (3 * 50), rel=0.05)
    for layer in plain_layers(tt.from_torch(model)):
        assert layer.w_std**2 == pytest.approx(1 / 3)
        assert layer.b_std**2 == pytest.approx(1 / (3 * layer.weight[0].numel()))


def first_layer(model):
    return next(m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))


def drawn(name):
    """A finite network as PyTorch draws it, but for its first layer: uniform weights on data are Gaussian at no width."""
    model = MODELS[name](WIDTH, OUTPUTS).eval()
    layer = first_layer(model)
    for p in layer.parameters():
        nn.init.normal_(p, 0.0, (3 * layer.weight[0].numel()) ** -0.5)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_finite_networks_as_torch_draws_them(name):
    """Within 4 standard errors, and 2 / width of the kernel's size for the finite width."""
    x = images(2)
    exact = tt.kernels(tt.from_torch(MODELS[name](WIDTH).eval()), x)
    samples = []
    for _ in range(DRAWS):
        model = drawn(name)
        out = model(x)
        grads = [
            torch.cat([g.flatten() for g in torch.autograd.grad(f, list(model.parameters()), retain_graph=True)])
            for f in out[:, 0]
        ]
        jacobian = torch.stack(grads)
        samples.append(torch.stack([out @ out.T / OUTPUTS, jacobian @ jacobian.T]).detach())
    mean, error = torch.stack(samples).mean(0), torch.stack(samples).std(0) / DRAWS**0.5
    for k, kernel in enumerate(exact):
        allowed = 4 * error[k] + 2 / WIDTH * kernel.abs().max()
        assert ((mean[k] - kernel).abs() < allowed).all(), (mean[k], kernel, error[k])


@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
def test_embeddings_keep_their_vectors(parameterization):
    model, tokens = nn.Sequential(nn.Embedding(7, 8, padding_idx=0), nn.Flatten(), nn.Linear(24, 1)), torch.tensor([[1, 2, 0]])
    for w_std in (None, 0.4):
        net = tt.from_torch(model, w_std=w_std, parameterization=parameterization)
        torch.testing.assert_close(net(tokens), model(tokens))
        assert net[0].w_std == (1.0 if w_std is None else w_std)  # torch draws them from N(0, 1)
        assert tt.nngp(net[0], tokens).diagonal(dim1=2, dim2=3)[0, 0].tolist() == pytest.approx([net[0].w_std ** 2] * 2 + [0])


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.layers = nn.ModuleList([self.a, nn.ReLU(), self.a])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Token(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Linear(4, 8), nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return self.embed(x) + self.position


class PostActivationBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return F.relu(x + self.conv(x))


class Mixer(nn.Module):
    """Token mixing shared over channels (Tolstikhin et al. 2021, arXiv 2105.01601)."""

    def __init__(self):
        super().__init__()
        self.embed, self.tokens = nn.Linear(3, 8), nn.Linear(64, 64)

    def forward(self, x):
        x = self.embed(x.flatten(2).transpose(1, 2))
        return self.tokens(x.transpose(1, 2))


class Attention(nn.Module):
    """Untied query and key weights, 1/sqrt(d) scores, by hand."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(3, 8)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return F.softmax(self.q(x) @ self.k(x).transpose(1, 2) / 8**0.5, dim=-1) @ self.v(x)


class ByFunction(Attention):
    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))


def hooked():
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda module, args, out: 2 * out)
    return layer


def vector():
    return torch.randn(2, 4)


REFUSED = {
    "batch-norm-in-training": (lambda: Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), images, r"1 \(BatchNorm2d\).*batch.*LayerNorm"),
    "batch-norm-trained": (lambda: Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), images, r"1 \(BatchNorm2d\).*gain and bias.*affine=False"),
    "batch-norm-uneven": (lambda: Sequential(nn.Conv2d(3, 4, 3), uneven()).eval(), images, r"1 \(BatchNorm2d\).*differ from channel to channel.*LayerNorm"),
    "instance-norm": (lambda: Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)), images, r"1 \(InstanceNorm2d\).*norm.*LayerNorm"),
    "max-pool": (lambda: Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)), images, r"1 \(MaxPool2d\).*AvgPool2d"),
    "softmax": (lambda: Sequential(nn.Linear(4, 4), nn.Softmax(-1)), vector, r"1 \(Softmax\).*softmax"),
    "post-activation": (PostActivationBlock, images, r"PostActivationBlock.*four dimensions.*pre-activation"),
    "token-mixing": (Mixer, images, r"tokens \(Linear\).*positions, not channels"),
    "depthwise": (lambda: Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)), images, r"1 \(Conv2d\).*depthwise.*groups=1"),
    "grouped": (lambda: Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2)), images, r"1 \(Conv2d\).*groups=2.*groups=1"),
    "attention-by-hand": (Attention, images, r"Attention.*matmul|Attention.*bmm"),
    "attention-by-function": (ByFunction, images, r"ByFunction.*scaled_dot_product_attention"),
    "attention-module": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), images, r"MultiheadAttention.*SelfAttention"),
    "transformer-layer": (lambda: Sequential(nn.Linear(3, 8), nn.TransformerEncoderLayer(8, 2, batch_first=True)), images, r"1 \(TransformerEncoderLayer\).*SelfAttention"),
    "recurrent": (lambda: nn.LSTM(3, 8), images, r"LSTM.*tt.nn.RNN"),
    "bilinear": (lambda: nn.Bilinear(4, 4, 2), vector, r"Bilinear.*'weight' has no law"),
    "prelu": (lambda: Sequential(nn.Linear(4, 4), nn.PReLU()), vector, r"1 \(PReLU\).*'weight' has no law"),
    "bare-parameter": (lambda: Sequential(Token()), vector, r"0 \(Token\).*'position'.*PositionalEmbedding"),
    "group-norm": (lambda: Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), images, r"1 \(GroupNorm\)"),
    "shared": (Reused, vector, r"a \(Linear\).*weight.*already used"),
    "overridden": (lambda: Sequential(Doubled(4, 4)), vector, r"0 \(Doubled\).*changes torch.nn.Linear.*tt.Layer"),
    "hook": (lambda: Sequential(hooked()), vector, r"0 \(Linear\).*hooks"),
    "spectral-norm": (lambda: Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))), vector, r"0 \(ParametrizedLinear\).*parametrizations"),
    "lazy": (lambda: Sequential(nn.LazyLinear(4)), vector, r"0 \(LazyLinear\).*batch first"),
    "dropout-of-data": (lambda: nn.Sequential(nn.Flatten(2), nn.Dropout(), nn.Conv1d(3, 4, 3)), images, r"1 \(Dropout\).*(law|channels)"),
    "channels-dropped": (lambda: Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d()), images, r"1 \(Dropout2d\).*dropout2d"),
}  # fmt: skip


def uneven():
    norm = nn.BatchNorm2d(4, affine=False)
    norm.running_var[1] = 2.0
    return norm


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_with_the_alternative(name):
    build, data, pattern = REFUSED[name]
    with pytest.raises(tt.UnsupportedError, match=f"(?s){pattern}"):
        tt.ntk(tt.from_torch(build()), data())


def test_a_plain_layer_names_from_torch():
    with pytest.raises(tt.UnsupportedError, match=r"0 \(Linear\).*from_torch"):
        tt.ntk(Sequential(nn.Linear(4, 2)), vector())


def test_a_root_that_is_a_layer():
    x = vector().double()
    torch.testing.assert_close(tt.nngp(tt.from_torch(nn.Linear(4, 2)), x), x @ x.T / 12 + 1 / 12)


def test_shared_modules_and_parameters_stay_shared():
    net = tt.from_torch(Reused(), parameterization="ntk")
    assert net.layers[0] is net.layers[2] is net.a
    tied = Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    net = tt.from_torch(tied, parameterization="ntk")
    assert net[0].weight is net[2].weight
    torch.testing.assert_close(net(torch.ones(1, 4)), tied(torch.ones(1, 4)))
    with pytest.raises(tt.UnsupportedError, match="already used"):
        tt.ntk(net, vector())


def test_batch_norm_with_kept_uniform_statistics_is_a_scale():
    model = Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    x = images(dtype=torch.float64)
    torch.testing.assert_close(
        tt.kernels(tt.from_torch(model), x), tt.kernels(tt.from_torch(Sequential(model[0], *model[2:])), x), rtol=1e-4, atol=1e-6
    )
    model[1].running_var.fill_(4.0)
    model[1].running_mean.fill_(0.3)
    k = tt.nngp(tt.from_torch(model[:2]), x)
    scale = 1 / (4 + model[1].eps)
    torch.testing.assert_close(k, scale * (tt.nngp(tt.from_torch(model[0]), x) + 0.09), rtol=1e-6, atol=1e-8)


def test_hyperparameters_and_layers_of_ours_are_kept():
    w = torch.tensor(1.3, requires_grad=True)
    model = Sequential(tt.nn.Linear(4, 8, w_std=0.5), nn.ReLU(), nn.Linear(8, 1))
    net = tt.from_torch(model, w_std=w, b_std=0.0)
    assert net[0].w_std == 0.5
    assert net[2].w_std is w
    tt.nngp(net, vector()).sum().backward()
    assert w.grad is not None
    assert not copy.deepcopy(net)[2].w_std.requires_grad
    with pytest.raises(ValueError, match=r"2: expected b_std > 0"):
        tt.from_torch(model, b_std=0.0, parameterization="ntk")
    with pytest.raises(ValueError, match="'ntk' or 'standard'"):
        tt.from_torch(model, parameterization="mup")
