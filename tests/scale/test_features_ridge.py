"""Ridge regression on features, added up in pieces: against the posterior of the same kernel."""

import pickle

import numpy as np
import pytest
import torch
from torch.nn import ReLU, Sequential

import torchtangents as tt
from torchtangents.scale.feature_maps import features, nystrom
from torchtangents.scale.feature_maps import pieces as room

n = tt.nn


def linear():
    return Sequential(n.Linear(4, 8, b_std=0.5), n.Linear(8, 1))


def net():
    return Sequential(n.Linear(4, 8, w_std=1.5), ReLU(), n.Linear(8, 1))


def data(count, dtype=torch.float64):
    x = torch.randn(count, 4, dtype=dtype)
    return x, torch.sin(x[:, :1]) * x[:, 1:3]  # (N, 2)


@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
@pytest.mark.parametrize("diag_reg", [1e-3, 1.0])
@pytest.mark.parametrize("make", [lambda k, x: features(linear(), 8, kernel=k), lambda k, x: nystrom(net(), x, kernel=k)])
def test_exact_features_give_the_posterior_mean(make, diag_reg, kernel):
    (x, y), (test, _) = data(30), data(7)
    phi = make(kernel, x)
    model = linear() if phi.dim < 15 else net()
    between = {"ntk": tt.ntk, "nngp": tt.nngp}[kernel]
    posterior = tt.predict.Posterior(between(model, x), y, diag_reg=diag_reg)
    wanted = posterior.at(between(model, test, x)).mean
    torch.testing.assert_close(phi.fit(x, y, diag_reg).predict(test), wanted, rtol=1e-8, atol=1e-8)


def test_any_features_give_the_posterior_of_their_kernel(monkeypatch, tmp_path):
    (x, y), (test, _) = data(150), data(7)
    phi = features(net(), 40, generator=torch.Generator().manual_seed(0))
    train = phi(x)
    wanted = tt.predict.Posterior(train @ train.T, y, diag_reg=0.1).at(phi(test) @ train.T).mean
    monkeypatch.setattr(room, "_VALUES", 1)  # 64 rows a piece
    torch.testing.assert_close(phi.fit(x, y, 0.1).predict(test), wanted, rtol=1e-9, atol=1e-9)
    for name, part in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", part.numpy())
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "y")]
    torch.testing.assert_close(phi.fit(*maps, 0.1).predict(test), wanted, rtol=1e-9, atol=1e-9)
    zarr = pytest.importorskip("zarr")
    stored = [zarr.array(part.numpy(), chunks=(50, part.shape[1])) for part in (x, y)]
    ridge = phi.fit(*stored, 0.1)
    torch.testing.assert_close(ridge.predict(zarr.array(test.numpy())), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sizes", [(), (1,), (2, 3)])
def test_targets_of_any_shape(sizes):
    x, _ = data(20)
    y = torch.randn(20, *sizes, dtype=torch.float64)
    ridge = features(net(), 32).fit(x, y, 0.1)
    assert ridge.predict(x[:6]).shape == (6, *sizes)
    assert ridge.weights.shape == (32, *sizes)
    columns = features(net(), 32, generator=torch.Generator().manual_seed(1))
    whole, parts = columns.fit(x, y, 0.1).predict(x), [columns.fit(x, c, 0.1).predict(x) for c in y.reshape(20, -1).unbind(1)]
    torch.testing.assert_close(whole.reshape(20, -1), torch.stack(parts, 1), rtol=1e-9, atol=1e-9)


def test_single_precision_is_solved_in_double():
    (x, y), (test, _) = data(200), data(5)
    phi = features(net(), 64)
    wanted, found = phi.fit(x, y, 1e-4).predict(test), phi.fit(x.float(), y.float(), 1e-4).predict(test.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-2)
    again = pickle.loads(pickle.dumps(phi.fit(x, y, 1e-4)))
    assert torch.equal(again.predict(test), wanted)


def test_more_features_predict_better():
    (x, y), (test, truth) = data(400), data(100)
    exact = tt.predict.Posterior(tt.ntk(net(), x), y, diag_reg=1e-2).at(tt.ntk(net(), test, x)).mean
    gaps = []
    for dim in (16, 64, 1024):
        found = [features(net(), dim, generator=torch.Generator().manual_seed(s)).fit(x, y, 1e-2).predict(test) for s in range(3)]
        gaps.append(torch.stack([(f - exact).square().mean() for f in found]).mean().sqrt())
    assert gaps[0] > 1.5 * gaps[1] > 1.5 * 1.5 * gaps[2]
    assert gaps[2] < 0.2 * truth.std()


def test_singular_sums_are_refused_and_name_a_regulariser_that_helps():
    x, y = data(10)
    phi = features(net(), 64)
    with pytest.raises(
        tt.predict.SingularKernelError, match=r"64 features of 10 points.*diag_reg=0.*expected diag_reg="
    ) as caught:
        phi.fit(x, y, 0.0)
    assert torch.isfinite(phi.fit(x, y, caught.value.diag_reg).predict(x)).all()
    flat = features(Sequential(n.Linear(4, 8, b_std=0.0), ReLU(), n.Linear(8, 1, b_std=0.0)), 16)
    with pytest.raises(tt.predict.SingularKernelError, match="features that are not all zero"):
        flat.fit(torch.zeros(3, 4), torch.ones(3), 1.0)


def test_bad_data_are_refused():
    x, y = data(10)
    phi = features(net(), 16)
    with pytest.raises(ValueError, match=r"y: expected one row for each of the 10 inputs, got shape \(9, 2\)"):
        phi.fit(x, y[:9], 0.1)
    with pytest.raises(TypeError, match=r"y: expected floating point numbers, got torch\.int64; convert labels"):
        phi.fit(x, torch.arange(10), 0.1)
    with pytest.raises(ValueError, match="y: expected finite numbers, got nan at index"):
        phi.fit(x, y.index_fill(0, torch.tensor(4), float("nan")), 0.1)
    with pytest.raises(ValueError, match="x: expected at least one row"):
        phi.fit(x[:0], y[:0], 0.1)
    with pytest.raises(TypeError, match="y: expected a tensor"):
        phi.fit(x, None, 0.1)
    with pytest.raises(ValueError, match="y: expected at least one output"):
        phi.fit(x, y[:, :0], 0.1)
    for wrong in (-1.0, float("nan"), "a"):
        with pytest.raises(ValueError, match="diag_reg: expected a finite number >= 0"):
            phi.fit(x, y, wrong)
