"""What has no explicit features, by name; options and inputs that are none."""

import pytest
import torch
from torch.nn import Flatten, ReLU, Sequential

import torchtangents as tt
from torchtangents.scale.feature_maps import features, nystrom

n = tt.nn


class Residual(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.inner = n.Linear(4, 4), Sequential(ReLU(), n.Linear(4, 4))

    def forward(self, x):
        h = self.first(x)
        return h + self.inner(h)


class Nested(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.block = Sequential(n.Linear(4, 4), layer, n.Linear(4, 1))

    def forward(self, x):
        return self.block(x)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Nested(n.Erf()), r"block\.1 \(Erf\)"),
        (Nested(torch.nn.GELU()), r"block\.1 \(GELU\)"),
        (Nested(n.Sign()), r"block\.1 \(Sign\)"),
        (Nested(n.LayerNorm(4)), r"block\.1 \(LayerNorm\)"),
        (Nested(torch.nn.Hardtanh()), r"block\.1 \(Hardtanh\)"),
        (Nested(n.Dropout(0.5)), r"block\.1 \(Dropout\)"),
        (Nested(torch.nn.Linear(4, 4)), r"block\.1 \(Linear\)"),
        (Nested(torch.nn.Softmax(-1)), r"block\.1 \(Softmax\)"),
        (Residual(), "Residual: joins several values"),
        (Sequential(n.Conv2d(1, 8, 3), ReLU(), Flatten(), n.Linear(72, 1)), r"0 \(Conv2d\)"),
        (Sequential(n.Embedding(9, 8), n.Linear(8, 1)), r"0 \(Embedding\)"),
    ],
)
def test_everything_else_is_refused_by_name(model, name):
    with pytest.raises(tt.UnsupportedError, match=name):
        features(model, 64)


def test_positions_are_refused_by_name():
    with pytest.raises(tt.UnsupportedError, match=r"0 \(Conv2d\): .*tt.scale.nystrom"):
        features(Sequential(n.Conv2d(1, 8, 3), ReLU(), Flatten(), n.Linear(72, 1)), 64, input_shape=(1, 5, 5))
    with pytest.raises(tt.UnsupportedError, match=r"has positions \(3,\).*tt.scale.nystrom"):
        features(Sequential(n.Linear(4, 4), ReLU(), n.Linear(4, 1)), 64, input_shape=(3, 4))


def net(**law):
    return Sequential(n.Linear(4, 8, **law), ReLU(), n.Linear(8, 1, **law))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim: expected a number of features >= 1, got 0"),
        ({"dim": 2.0}, ValueError, "dim: expected"),
        ({"dim": True}, ValueError, "dim: expected"),
        ({"dim": 3}, ValueError, "dim: expected at least 6 features for this network, got 3"),
        ({"kernel": "rbf"}, ValueError, "kernel: expected one of 'ntk', 'nngp'"),
        ({"method": "sketches"}, ValueError, "method: expected one of 'random', 'sketch'"),
        ({"degree": 1}, ValueError, "degree: expected a degree >= 2, got 1"),
        ({"model": tt.ntk}, TypeError, "model: expected a torch.nn.Module, got function"),
        ({"model": ReLU()}, ValueError, "input_shape: .*does not tell how many numbers"),
        ({"model": Sequential(n.LazyLinear(8), ReLU(), n.Linear(8, 1))}, ValueError, "input_shape: .*does not tell how many"),
        ({"input_shape": (5,)}, ValueError, "4 features"),
    ],
)
def test_options(options, error, message):
    given = {"model": net(), "dim": 64} | options
    with pytest.raises(error, match=message):
        features(given.pop("model"), given.pop("dim"), **given)


def test_the_least_that_is_named_is_enough():
    for kernel in ("ntk", "nngp"):
        for dim in range(1, 12):
            try:
                phi = features(net(), dim, kernel=kernel)
            except ValueError as error:
                least = int(str(error).split("at least ")[1].split()[0])
                assert least > dim
                assert features(net(), least, kernel=kernel)(torch.ones(1, 4)).shape == (1, least)
            else:
                assert phi(torch.ones(1, 4)).shape == (1, dim)


def test_a_shape_that_forward_does_not_take_asks_for_input_shape():
    class Images(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = net()

        def forward(self, x):
            b, _, h, w = x.shape
            return self.layers(x.reshape(b, h * w))

    with pytest.raises(ValueError, match=r"input_shape: forward does not take rows \(4,\)"):
        features(Images(), 64)
    assert features(Images(), 64, input_shape=(1, 2, 2))(torch.randn(3, 1, 2, 2)).shape == (3, 64)


def test_layers_that_forward_does_not_use_do_not_matter():
    class Spare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.spare, self.layers = n.Conv2d(1, 8, 3), net()

        def forward(self, x):
            return self.layers(x)

    assert features(Spare(), 64)(torch.randn(3, 4)).shape == (3, 64)


class Centred(torch.nn.Module):
    def __init__(self, statistic):
        super().__init__()
        self.statistic, self.layers = statistic, net()

    def forward(self, x):
        return self.layers(x - self.statistic(x))


@pytest.mark.parametrize("statistic", [lambda x: x.mean(0), lambda x: x.amax(0), lambda x: x.std(0, correction=0)])
def test_statistics_of_a_batch_are_refused(statistic):
    x = torch.randn(9, 4)
    with pytest.raises(ValueError, match="forward mixes the inputs of a batch"):
        features(Centred(statistic), 64)(x)
    with pytest.raises(ValueError, match="forward mixes the inputs of a batch"):
        nystrom(Centred(statistic), x)(x)
    for mine in (lambda x: x.mean(1, keepdim=True), lambda x: 3.0):
        assert features(Centred(mine), 64)(x).shape == (9, 64)
        assert nystrom(Centred(mine), x[:3])(x).shape == (9, 3)


def test_inputs():
    phi = features(net(), 64)
    with pytest.raises(TypeError, match="x: expected a tensor"):
        phi(3.0)
    with pytest.raises(ValueError, match="x: expected at least one row"):
        phi(torch.ones(0, 4))
    with pytest.raises(ValueError, match="5"):
        phi(torch.ones(2, 5))
    with pytest.raises(ValueError, match="expected finite numbers in x"):
        phi(torch.full((2, 4), float("nan")))
    with pytest.raises(TypeError, match="half precision"):
        phi(torch.ones(2, 4).half())
    with pytest.raises(tt.UnsupportedError, match="positions"):
        phi(torch.ones(2, 3, 4))
    with pytest.raises(OverflowError, match="not finite"):
        features(net(w_std=1e10), 64)(torch.full((2, 4), 1e38))


def test_a_forward_that_depends_on_its_input_is_not_followed_silently():
    class Deeper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = n.Linear(4, 4), n.Linear(4, 4), n.Linear(4, 1)

        def forward(self, x):
            h = self.first(x)
            if x.shape[0] > 1:
                h = torch.relu(self.second(h))
            return self.last(torch.relu(h))

    with pytest.raises(ValueError, match="forward does something else"):
        features(Deeper(), 64)(torch.ones(2, 4))


def test_zeros_whose_kernel_is_not_semidefinite_are_refused():
    model = net(parameterization="standard", b_std=0.0)
    x = torch.tensor([[0.0, 0, 0, 0], [1, 2, 3, 4], [1, -2, 3, -4], [-4, 1, 2, 2]], dtype=torch.float64)
    for method in ("random", "sketch"):
        with pytest.raises(ValueError, match=r"1 \(ReLU\): an input of the piece \(row 0\) is exactly 0"):
            features(model, 64, method=method)(x)
        assert torch.isfinite(features(model, 64, kernel="nngp", method=method)(x)).all()
    without = net(parameterization="standard", bias=False)
    assert (features(without, 64)(x)[0] == 0).all()
