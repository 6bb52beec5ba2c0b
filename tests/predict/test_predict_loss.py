"""The ensemble's loss against draws from its law."""

import pytest
import torch

from torchtangents.predict import Ensemble

pytestmark = pytest.mark.usefixtures("fake_kernels")


@pytest.mark.parametrize("kernel", ["ntk", "nngp", "ntkgp"])
@pytest.mark.parametrize("where", ["train", "test"])
def test_mean_and_std_against_monte_carlo(problem, kernel, where):
    p, draws = problem, 200_000
    ensemble = Ensemble(p.net, p.x_train, p.y_train, kernel=kernel)
    x, y, target = (None, None, p.y_train) if where == "train" else (p.x_test, p.y_test, p.y_test)
    mean, covariance = ensemble.at(5.0, x)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    noise = torch.randn(draws, *mean.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sampled = 0.5 * (mean + root @ noise - target).square().mean((1, 2))
    loss = ensemble.loss(5.0, x, y)
    assert abs(sampled.mean() - loss.mean) < 4 * loss.std / draws**0.5
    spread = (sampled - sampled.mean()).square()  # its mean is the variance
    assert abs(spread.mean() - loss.std**2) < 4 * spread.std() / draws**0.5


def test_loss_falls_to_zero_and_starts_at_the_prior(problem):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train)
    start = 0.5 * (p.y_train.square().mean() + p.nngp(p.x_train, p.x_train).diagonal().mean())
    torch.testing.assert_close(ensemble.loss(0.0).mean, start)
    mean, std = ensemble.loss(torch.tensor([0.0, 10.0, 100.0, 1000.0]))
    assert (mean.diff() < 0).all()
    assert (std.diff() < 0).all()
    assert ensemble.loss(None) == (0.0, 0.0)


def test_one_output_without_axis(problem):
    p = problem
    flat = Ensemble(p.net, p.x_train, p.y_train[:, 0]).loss(2.0, p.x_test, p.y_test[:, 0])
    column = Ensemble(p.net, p.x_train, p.y_train[:, :1]).loss(2.0, p.x_test, p.y_test[:, :1])
    assert flat == column


def test_refusals(problem):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train)
    with pytest.raises(ValueError, match="both x and y"):
        ensemble.loss(1.0, p.x_test)
    with pytest.raises(ValueError, match=r"outputs as y_train \(9, 2\), got \(4,\)"):
        ensemble.loss(1.0, p.x_test, p.y_test[:, 0])
    with pytest.raises(ValueError, match=r"y: expected shape \(4,\)"):
        ensemble.loss(1.0, p.x_test, p.y_test[:3])
