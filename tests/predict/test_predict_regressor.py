"""`Regressor` against `Ensemble`, against scikit-learn's own Gaussian process, and its refusals."""

import math
import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import make_friedman1
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Kernel
from sklearn.preprocessing import StandardScaler

import torchtangents as tt
from torchtangents.covariance.refusal import UnsupportedError
from torchtangents.predict.estimator import default_network

KERNELS = "ntk", "nngp", "ntkgp"
PLAIN = {"diag_reg": 1e-2, "amplitude": 1.0, "normalize_y": False}


def network():
    """A network of another width, depth and nonlinearity than the default."""
    return torch.nn.Sequential(tt.nn.LazyLinear(4, w_std=1.3), tt.nn.Erf(), tt.nn.Linear(4, 2, w_std=1.2))


def data(outputs=1, n=20, m=7):
    draw = np.random.RandomState(0)
    x, y = draw.randn(n + m, 3), draw.randn(n + m, outputs)
    y = y if outputs > 1 else y[:, 0]
    return x[:n], y[:n], x[n:], y[n:]


class Precomputed(Kernel):
    """The NNGP kernel as scikit-learn's Gaussian process takes it."""

    def __init__(self, net=None):
        self.net = net

    def __call__(self, X, Y=None, eval_gradient=False):
        k = tt.nngp(self.net, torch.tensor(X), None if Y is None else torch.tensor(Y)).numpy()
        return (k, np.zeros((*k.shape, 0))) if eval_gradient else k

    def diag(self, X):
        return tt.nngp(self.net, torch.tensor(X), diagonal=True).numpy()

    def is_stationary(self):
        return False


@pytest.mark.parametrize("normalize_y", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
def test_is_scikit_learns_gaussian_process_with_the_nngp(outputs, normalize_y):
    x, y, x_test, _ = data(outputs)
    noise = 1e-2 * Precomputed(network()).diag(x).mean()
    peer = GaussianProcessRegressor(Precomputed(network()), alpha=noise, optimizer=None, normalize_y=normalize_y).fit(
        x, 5 + 3 * y
    )
    ours = tt.predict.Regressor(network(), kernel="nngp", diag_reg=1e-2, amplitude=1.0, normalize_y=normalize_y).fit(x, 5 + 3 * y)
    np.testing.assert_allclose(ours.predict(x_test), peer.predict(x_test), rtol=1e-7, atol=1e-8)
    for option in ("return_std", "return_cov"):
        for mine, theirs in zip(ours.predict(x_test, **{option: True}), peer.predict(x_test, **{option: True}), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-8)
    assert ours.sample_y(x_test, 5).shape == peer.sample_y(x_test, 5).shape
    assert ours.score(x_test, peer.predict(x_test)) == pytest.approx(1)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("t", [None, 0.0, 30.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_is_the_ensemble(kernel, t, outputs):
    x, y, x_test, _ = data(outputs)
    ensemble = tt.predict.Ensemble(network(), torch.tensor(x), torch.tensor(y), kernel=kernel, learning_rate=0.5, diag_reg=1e-2)
    mean, covariance = (part.numpy() for part in ensemble.at(t, torch.tensor(x_test)))
    model = tt.predict.Regressor(network(), kernel=kernel, t=t, learning_rate=0.5, **PLAIN).fit(x, y)
    ours, cov = model.predict(x_test, return_cov=True)
    np.testing.assert_allclose(ours, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cov if outputs == 1 else cov[..., 1], covariance, rtol=1e-9, atol=1e-12)
    ours, std = model.predict(x_test, return_std=True)
    np.testing.assert_allclose(ours, mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(std if outputs == 1 else std[:, 1], np.sqrt(np.diag(covariance)), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_units_of_y(kernel):
    x, y, x_test, _ = data()
    one, other = (tt.predict.Regressor(kernel=kernel).fit(x, target) for target in (y, 100 * y - 7))
    (mean, std), (mean2, std2) = (model.predict(x_test, return_std=True) for model in (one, other))
    np.testing.assert_allclose(mean2, 100 * mean - 7, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(std2, 100 * std, rtol=1e-4)
    assert other.noise_variance_ == pytest.approx(1e4 * one.noise_variance_, rel=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_amplitude_scales_the_covariance_only(kernel):
    x, y, x_test, _ = data()
    one, four = (tt.predict.Regressor(kernel=kernel, diag_reg=1e-2, amplitude=a).fit(x, y) for a in (1.0, 4.0))
    (mean, std), (mean4, std4) = (model.predict(x_test, return_std=True) for model in (one, four))
    np.testing.assert_array_equal(mean, mean4)
    np.testing.assert_allclose(std4, 2 * std, rtol=1e-12)


@pytest.mark.parametrize("kernel", ["nngp", "ntkgp"])
@pytest.mark.parametrize("criterion", ["evidence", "loo"])
def test_standard_deviations_are_calibrated(kernel, criterion):
    x, y = make_friedman1(400, 10, noise=1.0, random_state=0)
    x = StandardScaler().fit_transform(x)
    model = tt.predict.Regressor(kernel=kernel, diag_reg=criterion).fit(x[:250], y[:250])
    mean, std = model.predict(x[250:], return_std=True)
    z = (y[250:] - mean) / np.sqrt(std**2 + model.noise_variance_)
    assert 0.8 < z.std() < 1.25
    assert 0.83 < (np.abs(z) < 1.645).mean() < 0.97  # 0.9, within 4 standard errors at 150 points
    assert model.score(x[250:], y[250:]) > 0.8


def test_constant_targets_and_one_sample():
    x, y, x_test, _ = data()
    constant = tt.predict.Regressor().fit(x, np.full(len(x), 1 / 3))
    np.testing.assert_allclose(constant.predict(x_test), 1 / 3, rtol=1e-12)
    assert np.isfinite(tt.predict.Regressor().fit(x[:1], y[:1]).predict(x_test, return_std=True)).all()


def test_samples_have_the_predicted_moments_and_follow_the_seed():
    x, y, x_test, _ = data(2)
    model = tt.predict.Regressor(diag_reg=0.1).fit(x, y)
    n = 4000
    draws = model.sample_y(x_test, n, random_state=1)  # (M, O, S)
    mean, cov = model.predict(x_test, return_cov=True)
    assert draws.shape == (*mean.shape, n)
    std = np.sqrt(np.moveaxis(np.diagonal(cov), 0, 1))  # (M, O)
    assert (np.abs(draws.mean(-1) - mean) < 4 * std / math.sqrt(n)).all()
    found = np.cov(draws[:, 1])
    scale = np.sqrt(np.outer(np.diag(cov[..., 1]), np.diag(cov[..., 1])))
    assert (np.abs(found - cov[..., 1]) < 5 * scale * math.sqrt(2 / n)).all()
    np.testing.assert_array_equal(draws, model.sample_y(x_test, n, random_state=1))
    assert not np.array_equal(draws, model.sample_y(x_test, n, random_state=2))


@pytest.mark.parametrize("kernel", KERNELS)
def test_test_points_stream(kernel, monkeypatch):
    x, y, x_test, _ = data(m=25)
    whole = tt.predict.Regressor(kernel=kernel, **PLAIN).fit(x, y)
    model = tt.predict.Regressor(kernel=kernel, batch_size=4, **PLAIN).fit(x, y)
    module = sys.modules["torchtangents.kernels"]  # `tt.kernels` is a function
    rows, real = [], module.kernels

    def watched(net, x1, x2=None, **options):
        rows.append(len(x1))
        return real(net, x1, x2, **options)

    monkeypatch.setattr(module, "kernels", watched)
    mean, std = model.predict(x_test, return_std=True)
    assert max(rows) == 4
    assert sum(rows) == 2 * 25  # with the training points, and with themselves
    np.testing.assert_allclose((mean, std), whole.predict(x_test, return_std=True), rtol=1e-10)


def test_predictions_leave_nothing_behind():
    x, y, x_test, _ = data(m=500)
    model = tt.predict.Regressor().fit(x, y)
    model.predict(x_test[:1], return_std=True)
    size = len(pickle.dumps(model))
    model.predict(x_test, return_std=True)
    model.predict(x_test, return_cov=True)
    assert len(pickle.dumps(model)) == size


def test_batches_are_as_large_as_the_kernel_allows(monkeypatch):
    x, y, x_test, _ = data(m=25)
    monkeypatch.setattr("torchtangents.predict.estimator._ENTRIES", 100)
    model = tt.predict.Regressor().fit(x, y)
    assert [len(batch) for batch in model._batches(torch.tensor(x_test))] == [5] * 5


@pytest.mark.parametrize("lazy", [True, False])
def test_the_network_is_a_template(lazy):
    x, y, x_test, _ = data()
    gain = torch.tensor(1.3, requires_grad=True)
    first = tt.nn.LazyLinear(4, w_std=gain) if lazy else tt.nn.Linear(3, 4, w_std=gain)
    net = torch.nn.Sequential(first, tt.nn.Erf(), tt.nn.Linear(4, 1))
    before = [None if torch.nn.parameter.is_lazy(p) else p.clone() for p in net.parameters()]
    state = torch.get_rng_state()
    model = tt.predict.Regressor(net).fit(x, y)
    model.predict(x_test)
    assert model.net is net
    assert net[0].w_std is gain
    assert torch.equal(torch.get_rng_state(), state)
    for p, old in zip(net.parameters(), before, strict=True):
        assert torch.nn.parameter.is_lazy(p) if old is None else torch.equal(p, old)
    gain.data.fill_(100.0)  # and what was fitted does not follow it
    assert np.isfinite(model.predict(x_test)).all()
    np.testing.assert_array_equal(model.predict(x_test), tt.predict.Regressor(lambda: renewed(net)).fit(x, y).predict(x_test))


def renewed(net):
    """`net` with its w_std as it was."""
    with torch.no_grad():
        net[0].w_std.fill_(1.3)
    return net


def test_default_network_draws_nothing():
    state = torch.get_rng_state()
    net = default_network()
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.device.type for p in net.parameters()} == {"meta"}


def test_images_in_rows():
    draw = np.random.RandomState(0)
    images, y = draw.randn(12, 1, 4, 4), draw.randn(12)
    net = torch.nn.Sequential(tt.nn.Conv2d(1, 4, 3, padding=1), tt.nn.ReLU(), torch.nn.Flatten(), tt.nn.Linear(64, 1))
    model = tt.predict.Regressor(net, input_shape=(1, 4, 4), kernel="ntk", **PLAIN).fit(images[:8].reshape(8, -1), y[:8])
    ensemble = tt.predict.Ensemble(net, torch.tensor(images[:8]), torch.tensor(y[:8]), diag_reg=1e-2)
    wanted = ensemble.at(None, torch.tensor(images[8:]), covariance=None).mean.numpy()
    np.testing.assert_allclose(model.predict(images[8:].reshape(4, -1)), wanted, rtol=1e-8)


@pytest.mark.parametrize("kernel", KERNELS)
def test_precision(kernel):
    x, y, x_test, _ = data()
    wide = tt.predict.Regressor(kernel=kernel, diag_reg=1e-2).fit(x, y)
    assert wide.x_.dtype == torch.float64
    for dtype in ("float32", np.float32, torch.float32):
        narrow = tt.predict.Regressor(kernel=kernel, diag_reg=1e-2, dtype=dtype).fit(x, y)
        assert narrow.x_.dtype == torch.float32
        np.testing.assert_allclose(narrow.predict(x_test), wide.predict(x_test), atol=1e-3)
    assert tt.predict.Regressor().fit(x.astype(np.float32), y).x_.dtype == torch.float32
    assert tt.predict.Regressor(dtype="float64").fit(x.astype(np.float32), y).x_.dtype == torch.float64
    assert tt.predict.Regressor().fit(torch.tensor(x), torch.tensor(y)).x_.dtype == torch.float64


def positions():
    return torch.nn.Sequential(tt.nn.Conv1d(1, 2, 3, padding=1), tt.nn.ReLU(), tt.nn.Conv1d(2, 1, 1))


X, Y, X_TEST, _ = data()
NAN = np.where(np.arange(60).reshape(20, 3) == 4, np.nan, X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": "rbf"}, ValueError, "kernel: expected one of 'ntk', 'nngp', 'ntkgp', got 'rbf'"),
        ({"diag_reg": -1.0}, ValueError, "diag_reg: expected a finite number >= 0"),
        ({"diag_reg": "auto"}, ValueError, "diag_reg: expected one of 'evidence', 'loo', got 'auto'"),
        ({"amplitude": 0.0}, ValueError, "amplitude: expected a finite number > 0"),
        ({"amplitude": "loo"}, ValueError, "amplitude: .*'loo'"),
        ({"t": -1.0}, ValueError, "t: expected a finite number >= 0"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate: .*> 0"),
        ({"batch_size": 0}, ValueError, "batch_size: expected a number of test points >= 1"),
        ({"batch_size": 1.5}, ValueError, "batch_size"),
        ({"dtype": "float16"}, ValueError, "dtype: expected one of 'float32', 'float64', got 'float16'"),
        ({"input_shape": (2, 2)}, ValueError, r"input_shape: expected a shape of 3 numbers.*got \(2, 2\) of 4"),
        ({"net": "mlp"}, TypeError, "net: expected a torch.nn.Module, a callable"),
        ({"net": dict}, TypeError, "net: .*got dict"),
        ({"net": positions(), "input_shape": (1, 3)}, ValueError, "positions"),
        ({"net": torch.nn.Sequential(tt.nn.LazyLinear(3), tt.nn.ReLU())}, ValueError, "not Gaussian"),
        ({"net": torch.nn.Linear(3, 1)}, UnsupportedError, "from_torch"),
        ({"net": tt.nn.Linear(4, 1)}, ValueError, "4"),
        ({"backend": "gpu"}, ValueError, "backend"),
        ({"diag_reg": 0.0, "net": tt.nn.Linear(3, 1)}, tt.predict.SingularKernelError, "pass diag_reg="),
    ],
)
def test_refused_parameters(options, error, message):
    with pytest.raises(error, match=message):
        tt.predict.Regressor(**options).fit(X, Y)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (NAN, Y, "NaN"),
        (X, np.where(np.arange(20) == 3, np.inf, Y), "infinity"),
        (X[:5], Y, "inconsistent numbers of samples"),
        (X[:, 0], Y, "2D array"),
        (X.reshape(20, 1, 3), Y, r"reshape\(len\(X\), -1\) and input_shape=\(1, 3\)"),
    ],
)
def test_refused_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        tt.predict.Regressor().fit(x, y)


def test_refused_predictions():
    model = tt.predict.Regressor()
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.fit(X, Y)
    for x, message in ((X[:, :2], "expecting 3 features"), (NAN, "NaN"), (X.reshape(20, 3, 1), "dim 3")):
        with pytest.raises(ValueError, match=message):
            model.predict(x)
    with pytest.raises(ValueError, match="at most one of return_std and return_cov"):
        model.predict(X, return_std=True, return_cov=True)
