"""What the tests of stored kernels share: small networks, inputs, and a store to write to."""

import functools

import pytest
import torch

import torchtangents as tt

pytest.importorskip("zarr", minversion="3")


def fully_connected(w_std=1.5, inputs=5, width=8):
    layers = [tt.nn.Linear(inputs, width, w_std=w_std), torch.nn.ReLU(), tt.nn.Linear(width, width, w_std=w_std), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, tt.nn.Linear(width, 1))


def convolutional():
    return torch.nn.Sequential(
        tt.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.ReLU(),
        tt.nn.Conv2d(4, 4, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        tt.nn.Linear(64, 1),
    )


def smooth():
    return torch.nn.Sequential(tt.nn.Linear(5, 8), tt.nn.GELU(), tt.nn.Linear(8, 8), torch.nn.Tanh(), tt.nn.Linear(8, 1))


@functools.cache
def finite():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


@pytest.fixture
def compute(tmp_path):
    """`tt.scale.compute` into a fresh store, without a bar."""
    return functools.partial(tt.scale.compute, store=tmp_path / "k.zarr", progress=False)


def tiles(handle):
    """The tiles that were computed, in order."""
    return [tuple(r["tile"]) for r in handle.records]
