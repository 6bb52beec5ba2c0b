"""Feature maps of fully connected networks: against the exact kernels, one hidden layer without bias, errors that fall."""

import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import Flatten, ReLU, Sequential

import torchtangents as tt
from tests.tolerances import SAME
from torchtangents.scale.feature_maps import FeatureMap, features
from torchtangents.scale.feature_maps import pieces as room

n = tt.nn
KERNELS = {"nngp": tt.nngp, "ntk": tt.ntk}
ACTIVATIONS = {"relu": ReLU, "leaky": lambda: n.LeakyReLU(0.3), "abs": n.Abs, "abrelu": lambda: n.ABReLU(-0.4, 1.7)}
WIDTH = 5


def net(depth, activation="relu", b_std=0.3, parameterization="ntk", bias=True):
    law = {"b_std": b_std, "parameterization": parameterization, "bias": bias}
    hidden = [layer for _ in range(depth) for layer in (n.Linear(WIDTH, WIDTH, w_std=1.5, **law), ACTIVATIONS[activation]())]
    return Sequential(*hidden, n.Linear(WIDTH, 1, w_std=1.2, **law))


def inputs(count=8, dtype=torch.float64):
    """Generic, equal, opposite and nearly equal rows."""
    x = torch.randn(count, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    x[1], x[2], x[3] = x[0], -x[0], x[0] + 1e-3 * x[4]
    return x.to(dtype)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def errors(model, kernel, dim, method, seeds, x):
    """(phi phi^T - k) / sqrt(k k) of several maps."""
    k = KERNELS[kernel](model, x)
    scale = k.diagonal().sqrt()
    found = []
    for seed in seeds:
        phi = features(model, dim, kernel=kernel, method=method, generator=seeded(seed))(x)
        found.append((phi @ phi.T - k) / scale / scale[:, None])
    return torch.stack(found)


NETWORKS = {
    "relu": {},
    "leaky": {"activation": "leaky"},
    "abs": {"activation": "abs", "b_std": 0.0},
    "abrelu, standard": {"activation": "abrelu", "parameterization": "standard"},
    "relu, standard, zero bias": {"parameterization": "standard", "b_std": 0.0},
    "relu, no bias": {"bias": False},
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_hidden_layer_of_random_features_has_no_bias(kernel, name):
    error = errors(net(1, **NETWORKS[name]), kernel, 64, "random", range(150), inputs(6))
    standard = error.std(0) / 150**0.5
    assert standard.max() < 0.025  # or the comparison says nothing
    assert (error.mean(0).abs() <= 4 * standard + 1e-6).all()  # opposite inputs: few draws are not 0


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kernel", KERNELS)
def test_errors_fall_as_one_over_the_root_of_dim(kernel, depth):
    model, x = net(depth), inputs()
    spread = [errors(model, kernel, dim, "random", range(12), x).square().mean().sqrt() for dim in (128, 512, 2048)]
    assert spread[0] * 128**0.5 < 3
    for larger, smaller in itertools.pairwise(spread):
        assert 0.35 < smaller / larger < 0.7  # one half, from 12 draws each


@pytest.mark.parametrize("kernel", KERNELS)
def test_errors_of_sketches_fall(kernel):
    model, x = net(1), inputs()
    large, small = (errors(model, kernel, dim, "sketch", range(12), x).square().mean().sqrt() for dim in (128, 2048))
    assert small < 0.45 * large


@pytest.mark.parametrize("depth", [1, 4])
def test_the_spread_at_equal_inputs_is_the_one_that_is_stated(depth):
    found = errors(net(depth, bias=False), "nngp", 256, "random", range(150), inputs())[:, 0, 0]
    assert 0.75 < found.std() / (2 * (depth / 256) ** 0.5) < 1.25  # 150 draws: 6% each way


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "sketch"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("kernel", KERNELS)
def test_many_features_are_close_to_the_kernel(kernel, depth, name, method):
    model, x, dim = net(depth, **NETWORKS[name]), inputs(), 1024
    error = errors(model, kernel, dim, method, range(8), x)
    assert error.mean(0).abs().max() < 4 * 2 * (depth / (8 * dim)) ** 0.5
    correlation = KERNELS[kernel](model, x) / (k := KERNELS[kernel](model, x).diagonal().sqrt()) / k[:, None]
    mean = correlation + error.mean(0)
    angles = mean / mean.diagonal().sqrt() / mean.diagonal().sqrt()[:, None]  # what the lengths of features do not change
    assert (angles - correlation).abs().max() < (0.05 if method == "random" else 0.05 + 0.015 * depth)  # its polynomials


@pytest.mark.parametrize("method", ["random", "sketch"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_without_bias_scale_with_their_inputs(dtype, kernel, method):
    model, x = net(2, b_std=0.0), inputs(dtype=dtype)
    x[5] = 0
    phi = features(model, 128, kernel=kernel, method=method, generator=seeded(0))
    plain = phi(x)
    assert (plain[5] == 0).all()
    assert (plain[[0, 4]].norm(dim=1) > 0).all()
    for scale in (1e-8, 1e8):
        found = phi((x.double() * scale).to(dtype)) / scale
        torch.testing.assert_close(found, plain, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-11)


def test_zero_and_equal_inputs_with_biases():
    x = inputs()
    x[5] = 0
    error = errors(net(2), "ntk", 1024, "random", range(8), x)
    assert error.mean(0).abs().max() < 4 * 2 * (2 / 8192) ** 0.5
    phi = features(net(2), 64)(x)
    torch.testing.assert_close(phi[0], phi[1], rtol=0, atol=SAME)


def test_linear_networks_have_exact_features():
    model, x = Sequential(n.Linear(WIDTH, 3), n.Linear(3, 1, w_std=0.7, parameterization="standard")), inputs()
    for kernel, verb in KERNELS.items():
        phi = features(model, 3, kernel=kernel)
        assert phi(x).shape == (8, phi.dim)
        torch.testing.assert_close(phi(x) @ phi(x).T, verb(model, x), rtol=SAME, atol=SAME)


class Scaled(torch.nn.Module):
    """Code before the first layer, multiples, and an activation at the end."""

    def __init__(self):
        super().__init__()
        self.first, self.second = n.Linear(WIDTH, 8, b_std=0.2), n.Linear(8, 8, w_std=1.4)

    def forward(self, x):
        return 0.5 * torch.relu(self.second(2 * torch.relu(3 * self.first(x.flatten(1) / 255))))


@pytest.mark.parametrize("kernel", KERNELS)
def test_any_code_before_and_multiples(kernel):
    model, x = Scaled(), 100 * inputs()
    error = errors(model, kernel, 1024, "random", range(8), x)
    assert error.mean(0).abs().max() < 4 * 2 * (2 / 8192) ** 0.5
    images = x.reshape(8, 1, 1, WIDTH)
    shaped = features(model, 64, kernel=kernel, input_shape=(1, 1, WIDTH), generator=seeded(0))(images)
    assert torch.equal(shaped, features(model, 64, kernel=kernel, generator=seeded(0))(x))


def test_whole_numbers_that_forward_converts():
    class Bytes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = net(1)

        def forward(self, x):
            return self.layers(x.float() / 255)

    x = torch.randint(256, (6, WIDTH), dtype=torch.uint8)
    phi = features(Bytes(), 64, generator=seeded(0))
    assert phi(x).dtype == torch.float32
    torch.testing.assert_close(phi(x), features(net(1), 64, generator=seeded(0))(x.float() / 255))


@pytest.mark.parametrize("dim", [16, 100, 257, 1024])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("b_std", [0.0, 0.3])
@pytest.mark.parametrize("method", ["random", "sketch"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_as_many_features_as_asked_for(kernel, method, b_std, depth, dim):
    phi = features(net(depth, b_std=b_std), dim, kernel=kernel, method=method)
    assert phi.dim == dim
    assert phi(inputs()).shape == (8, dim)


def test_two_linear_layers_at_the_end_and_an_activation():
    double = Sequential(n.Linear(WIDTH, 8), ReLU(), n.Linear(8, 8), n.Linear(8, 1))
    for model in (double, double[:2]):
        for kernel in KERNELS:
            phi = features(model, 101, kernel=kernel)
            assert 95 < phi.dim <= 101
            assert phi(inputs()).shape == (8, phi.dim)


@pytest.mark.parametrize("method", ["random", "sketch"])
def test_one_map_in_both_precisions_and_in_pieces(method, monkeypatch, tmp_path):
    phi, x = features(net(2), 64, method=method), inputs(200)
    whole = phi(x)
    narrow = phi(x.float())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), whole, rtol=0, atol=1e-5)
    monkeypatch.setattr(room, "_VALUES", 1)  # 64 rows a piece
    assert len(room.pieces(x, 64)) == 4
    torch.testing.assert_close(phi(x, progress=False), whole, rtol=0, atol=SAME)
    np.save(tmp_path / "x.npy", x.numpy())
    torch.testing.assert_close(phi(np.load(tmp_path / "x.npy", mmap_mode="r")), whole, rtol=0, atol=SAME)


@pytest.mark.parametrize("method", ["random", "sketch"])
def test_seeds_decide_and_nothing_else(method):
    model, x = net(2), inputs()
    phi = features(model, 64, method=method, generator=seeded(3))
    before, first = torch.get_rng_state(), phi(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, phi(x))
    assert torch.equal(first, features(model, 64, method=method, generator=seeded(3))(x))
    assert not torch.equal(first, features(model, 64, method=method, generator=seeded(4))(x))
    model[0].law.w_std = 9.0
    assert torch.equal(first, phi(x))


@pytest.mark.slow
def test_the_same_maps_in_another_process(tmp_path, elsewhere):
    maps, x = [features(net(2), 64, method=method) for method in ("random", "sketch")], inputs()
    wanted = [phi(x) for phi in maps]
    for phi, each in zip(maps, wanted, strict=True):
        assert torch.equal(pickle.loads(pickle.dumps(phi))(x), each)
        assert len(pickle.dumps(phi)) < 20_000  # seeds, not matrices
    (tmp_path / "maps.pickle").write_bytes(pickle.dumps((maps, x)))
    code = (
        "import pickle, torch; torch.set_num_threads(1); maps, x = pickle.load(open('maps.pickle', 'rb')); "
        "torch.save([phi(x) for phi in maps], 'out.pt')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, **elsewhere)
    for each, found in zip(wanted, torch.load(tmp_path / "out.pt"), strict=True):
        assert torch.equal(found, each)


def test_maps_do_not_change():
    phi = features(net(1), 64)
    assert isinstance(phi, FeatureMap)
    with pytest.raises(AttributeError, match="dim cannot be set: a feature map does not change"):
        phi.dim = 3
    assert phi.dim == 64


@pytest.mark.parametrize("method", ["random", "sketch"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_derivatives_in_the_inputs(kernel, method):
    phi = features(net(2), 24, kernel=kernel, method=method, generator=seeded(0))
    x = inputs()[4:7].clone().requires_grad_()
    assert torch.autograd.gradcheck(phi, (x,))
    zero = torch.zeros(2, WIDTH, dtype=torch.float64, requires_grad=True)
    features(net(2, b_std=0.0), 24, kernel=kernel, method=method)(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_images_of_any_shape():
    model = Sequential(Flatten(), *net(1))
    phi = features(model, 64, input_shape=(1, WIDTH), generator=seeded(0))
    x = inputs()
    assert torch.equal(phi(x[:, None]), features(net(1), 64, generator=seeded(0))(x))
