"""Trace and largest eigenvalues from products with vectors, against the matrix."""

import pytest
import torch
from torch import nn

import torchtangents as tt
from torchtangents.empirical.running import Running

from ..finite_networks import d
from .oracle import jacobians, kernel, single

SEED = torch.Generator().manual_seed(7).get_state()


def generator():
    fresh = torch.Generator()
    fresh.set_state(SEED)
    return fresh


@pytest.mark.parametrize("axes", [(-1,), ()])
@pytest.mark.parametrize("name", ["mlp", "flat", "residual", "language"])
def test_trace_is_within_its_error(name, axes):
    net, x, _ = single(name)
    theta = kernel(*jacobians(net, x), *jacobians(net, x), axes)
    found = tt.empirical.trace_estimate(net, x, n_samples=200, generator=generator(), trace_axes=axes)
    assert (found.mean - theta.trace()).abs() < 4 * found.error
    full = kernel(*jacobians(net, x), *jacobians(net, x), ())
    variance = 2 * (full.square().sum() - full.diagonal().square().sum()) * (len(theta) / len(full)) ** 2
    assert 0.7 < found.error / (variance / 200).sqrt() < 1.4


def test_trace_streams_and_is_seeded():
    net, x, _ = single("mlp")
    whole = tt.empirical.trace_estimate(net, x, n_samples=40, generator=generator())
    stream = list(tt.empirical.trace_estimate(net, x, n_samples=[10, 40], generator=generator(), batch_size=2))
    assert [each.n_samples for each in stream] == [10, 40]
    assert torch.allclose(stream[1].mean, whole.mean)
    assert torch.allclose(stream[1].error, whole.error)
    assert not torch.allclose(stream[0].mean, whole.mean)
    state = torch.get_rng_state()
    tt.empirical.trace_estimate(net, x, n_samples=2, generator=generator())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    first = tt.empirical.trace_estimate(net, x, n_samples=4)
    torch.manual_seed(1)
    assert torch.equal(tt.empirical.trace_estimate(net, x, n_samples=4).mean, first.mean)


@pytest.mark.slow
def test_error_of_the_trace_shrinks_with_the_root_of_the_count():
    net, x, _ = single("mlp")
    exact, errors = tt.empirical.trace(net, x), []
    for count in (10, 160):
        runs = [
            tt.empirical.trace_estimate(net, x, n_samples=count, generator=torch.Generator().manual_seed(i)) for i in range(40)
        ]
        errors.append(torch.stack([r.mean - exact for r in runs]).square().mean().sqrt().item())
    assert 2.5 < errors[0] / errors[1] < 6.5  # 4, from 40 runs


@pytest.mark.parametrize("axes", [(-1,), ()])
@pytest.mark.parametrize("name", ["mlp", "residual", "language", "recurrent"])
def test_top_eigenpairs(name, axes):
    net, x, _ = single(name)
    theta = kernel(*jacobians(net, x), *jacobians(net, x), axes)
    values = torch.linalg.eigvalsh(theta)
    found = tt.empirical.top_eigenpairs(net, x, 3, trace_axes=axes, generator=generator())
    assert torch.allclose(found.values, values.flip(0)[:3], rtol=1e-9)
    assert torch.allclose(theta @ found.vectors, found.vectors * found.values, atol=1e-8 * values[-1])
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(3).double(), atol=1e-9)
    again = tt.empirical.top_eigenpairs(net, x, 3, trace_axes=axes, generator=generator())
    assert torch.equal(found.values, again.values)


def test_learning_rate_of_a_network_from_its_largest_eigenvalue():
    net, x, _ = single("mlp")
    theta = kernel(*jacobians(net, x), *jacobians(net, x), ())
    largest = tt.empirical.top_eigenpairs(net, x, 1, trace_axes=()).values[0].item()
    assert abs(2 * len(theta) / largest - tt.predict.max_learning_rate(theta)) < 1e-8


def test_float32():
    net, x, _ = single("residual")
    theta = kernel(*jacobians(net, x), *jacobians(net, x))
    found = tt.empirical.top_eigenpairs(net.float(), x.float(), 2)
    assert found.values.dtype == found.vectors.dtype == torch.float32
    assert torch.allclose(found.values.double(), torch.linalg.eigvalsh(theta).flip(0)[:2], rtol=1e-4)
    estimate = tt.empirical.trace_estimate(net, x.float(), n_samples=3)
    assert estimate.mean.dtype == estimate.error.dtype == torch.float32


def test_running_mean_and_error():
    values, running = d(50, 2, 3) + 1e6, Running()
    for value in values:
        running.add(value)
    assert torch.allclose(running.mean, values.mean(0), rtol=1e-13)
    assert torch.allclose(running.error(), values.std(0) / 50**0.5, rtol=1e-8)
    with pytest.raises(ValueError, match="two values or more for a standard error, got 0"):
        Running().error()


def test_refusals():
    net, x = nn.Linear(3, 2), torch.randn(4, 3)
    for k in (0, 4, -1, 2.0):
        with pytest.raises(ValueError, match=r"k: expected a number of eigenvalues from 1 to 3"):
            tt.empirical.top_eigenpairs(net, x, k)
    with pytest.raises(ValueError, match="tolerance: expected a number >= 0, got -1"):
        tt.empirical.top_eigenpairs(net, x, 1, tolerance=-1)
    wide, many = nn.Linear(300, 1), torch.randn(200, 300)
    with pytest.raises(RuntimeError, match="of 6 eigenvalues converged; raise max_iterations"):
        tt.empirical.top_eigenpairs(wide, many, max_iterations=1)
    for count in (1, 0, -3, 2.5, True, [], [2, 2], [5, 3], [1, 10]):
        with pytest.raises(ValueError, match="n_samples: expected"):
            tt.empirical.trace_estimate(net, x, n_samples=count)
