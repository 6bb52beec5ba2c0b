"""Test sets that come in batches: the numbers are those of the whole, and kernels are never larger than a batch's."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from torchtangents.predict import Ensemble

pytestmark = pytest.mark.usefixtures("fake_kernels")


@pytest.fixture
def x_test():
    return torch.randn(11, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("kernel", ["ntk", "nngp", "ntkgp"])
@pytest.mark.parametrize("t", [None, 3.0, [[1.0, 2.0], [5.0, 0.0]]])
@pytest.mark.parametrize("size", [1, 4, 11, 50])
def test_equal_to_the_whole(problem, x_test, kernel, t, size):
    p = problem
    t = None if t is None else torch.tensor(t)
    ensemble = Ensemble(p.net, p.x_train, p.y_train, kernel=kernel, diag_reg=1e-3)
    whole, parts = ensemble.at(t, x_test, "diagonal"), ensemble.at(t, x_test, "diagonal", batch_size=size)
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    mean, none = ensemble.at(t, x_test, None, batch_size=size)
    assert none is None
    torch.testing.assert_close(mean, whole.mean, rtol=1e-12, atol=1e-12)


def test_no_kernel_is_larger_than_a_batch(problem, x_test, monkeypatch):
    p = problem
    ensemble, sizes = Ensemble(p.net, p.x_train, p.y_train), []
    original = ensemble.kernels._pair

    def watched(x1, x2=None, **options):
        sizes.append((len(x1), options.get("diagonal", False), None if x2 is None else len(x2)))
        return original(x1, x2, **options)

    monkeypatch.setattr(ensemble.kernels, "_pair", watched)
    ensemble.at(2.0, x_test, "diagonal", batch_size=4)
    assert sizes == [(4, False, 9), (4, True, None)] * 2 + [(3, False, 9), (3, True, None)]


def test_a_stream_of_any_iterable(problem, x_test):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train)
    whole = ensemble.at(2.0, x_test)
    loader = DataLoader(TensorDataset(x_test), batch_size=4)
    for batches in (loader, iter(x_test.split(4)), ((part, part[:, 0]) for part in x_test.split(4))):
        parts = list(ensemble.stream(batches, 2.0))
        torch.testing.assert_close(torch.cat([part.mean for part in parts]), whole.mean)
        torch.testing.assert_close(torch.cat([part.covariance for part in parts]), whole.covariance.diagonal())
    first = next(ensemble.stream(loader, 2.0, "full"))
    torch.testing.assert_close(first.covariance, whole.covariance[:4, :4])
    labelled = DataLoader(TensorDataset(x_test, x_test), batch_size=4)
    with pytest.raises(TypeError, match=r"got a list of 2.*pass \(x for x, _ in loader\)"):
        next(ensemble.stream(labelled, 2.0))


def test_tuples_and_no_points(problem, x_test):
    p = problem
    ensemble = Ensemble(p.net, (p.x_train, torch.ones(9)), p.y_train)
    x = x_test, torch.ones(11)
    torch.testing.assert_close(ensemble.at(2.0, x, None, batch_size=3).mean, ensemble.at(2.0, x).mean)
    mean, variance = ensemble.at(2.0, (x_test[:0], torch.ones(0)), "diagonal", batch_size=3)
    assert mean.shape == (0, 2)
    assert variance.shape == (0,)


@pytest.mark.parametrize(
    ("x", "form", "size", "message"),
    [
        (torch.ones(4, 3).double(), "full", 2, 'full covariance couples all test points; ask for covariance="diagonal"'),
        (torch.ones(4, 3).double(), None, 0, "expected a number of test points >= 1, got 0"),
        (torch.ones(4, 3).double(), None, True, "expected a number of test points >= 1, got True"),
        (None, None, 2, "expected x_test; the training points"),
        ((torch.ones(4, 3).double(), torch.ones(2)), None, 2, "expected tensors of 4 samples each"),
    ],
)
def test_refusals(problem, x, form, size, message):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train)
    with pytest.raises(ValueError, match=message):
        ensemble.at(1.0, x, form, batch_size=size)
