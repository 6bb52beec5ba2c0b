"""Kernels that start from given covariances."""

import pytest
import torch
from torch.nn import Flatten, ReLU, Sequential

import torchtangents as tt

n = tt.nn


def own(x):
    """(N, *S, *S) covariances of each input with itself."""
    flat = x.flatten(2)
    k = torch.einsum("acp,acq->apq", flat, flat) / x.shape[1]
    return k.reshape(len(x), *x.shape[2:], *x.shape[2:])


def cross(x, y):
    k = torch.einsum("acp,bcq->abpq", x.flatten(2), y.flatten(2)) / x.shape[1]
    return k.reshape(len(x), len(y), *x.shape[2:], *y.shape[2:])


@pytest.mark.parametrize("pool", [False, True])
def test_covariances_of_data_give_the_kernels_of_data(pool):
    x, y = torch.randn(3, 2, 5, 4, dtype=torch.float64), torch.randn(2, 2, 5, 4, dtype=torch.float64)
    tail = (n.GlobalAvgPool(), n.Linear(6, 1)) if pool else (Flatten(), n.Linear(120, 1))
    net = Sequential(n.Conv2d(2, 6, 3, padding=1), ReLU(), *tail)
    given = tt.propagate(net, cross(x, y), own(x), own(y))
    torch.testing.assert_close(given, tt.kernels(net, x, y), rtol=1e-10, atol=1e-12)
    alone = tt.propagate(net, cross(x, x), own(x))
    torch.testing.assert_close(alone, tt.kernels(net, x), rtol=1e-7, atol=1e-8)


def test_a_network_in_two_pieces():
    x = torch.randn(4, 3, dtype=torch.float64)
    first, second = Sequential(n.Linear(3, 8), n.Erf(), n.Linear(8, 8)), Sequential(n.Linear(8, 8), n.Sin())
    middle = tt.kernels(first, x)
    joined = tt.propagate(second, middle, middle.nngp.diagonal())
    torch.testing.assert_close(joined, tt.kernels(Sequential(first, second), x), rtol=1e-7, atol=1e-9)


def test_tiles_of_given_covariances():
    x = torch.randn(5, 2, 5, 4, dtype=torch.float64)
    net = Sequential(n.Conv2d(2, 6, 3), ReLU(), n.GlobalAvgPool(), n.Linear(6, 1))
    whole = tt.propagate(net, cross(x, x), own(x))
    torch.testing.assert_close(tt.propagate(net, cross(x, x), own(x), tile=2), whole, rtol=1e-12, atol=1e-14)


def test_bad_covariances_are_refused():
    net = Sequential(n.Linear(3, 8), ReLU())
    with pytest.raises(ValueError, match=r"expected k12 of shape \(2, 2\)"):
        tt.propagate(net, torch.eye(3), torch.ones(2))
    with pytest.raises(ValueError, match="k11"):
        tt.propagate(net, torch.eye(3), torch.ones(3, 3))
    with pytest.raises(TypeError, match="float32 or float64"):
        tt.propagate(net, torch.eye(3, dtype=torch.long), torch.ones(3))
    with pytest.raises(ValueError, match="finite"):
        tt.propagate(net, torch.eye(3) * float("nan"), torch.ones(3))
    with pytest.raises(ValueError, match="channels="):
        tt.propagate(ReLU(), torch.eye(3), torch.ones(3))
