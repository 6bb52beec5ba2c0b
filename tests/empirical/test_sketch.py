"""Random projections: unbiased, of the right variance, the same however they are batched, in bounded memory."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import torchtangents as tt
from torchtangents.empirical import gradients, sketch

from ..finite_networks import d
from .oracle import jacobians, kernel, single


def seeded(i):
    return torch.Generator().manual_seed(i)


@pytest.mark.parametrize(
    ("name", "axes"), [("mlp", (-1,)), ("residual", (-1,)), ("residual", ()), ("language", (1,)), ("flat", ())]
)
def test_unbiased_with_the_stated_variance(name, axes):
    net, x, _ = single(name)
    theta = kernel(*jacobians(net, x), *jacobians(net, x), axes)
    runs, dim = 100, 20
    phi = torch.stack([tt.empirical.features(net, x, dim=dim, generator=seeded(i), trace_axes=axes) for i in range(runs)])
    phi = phi.reshape(runs, len(theta), dim)
    estimates = phi @ phi.mT
    error = estimates.std(0) / runs**0.5
    assert ((estimates.mean(0) - theta).abs() < 4.5 * error + 1e-12).all()
    bound = (torch.outer(theta.diagonal(), theta.diagonal()) + theta.square()) / dim
    assert (estimates.var(0) < 2 * bound).all()
    assert estimates.var(0).mean() > 0.1 * bound.mean()


def test_error_shrinks_with_the_root_of_the_dimension():
    net, x, _ = single("mlp")
    theta, errors = kernel(*jacobians(net, x), *jacobians(net, x)), []
    for dim in (64, 1024):
        phi = torch.stack([tt.empirical.features(net, x, dim=dim, generator=seeded(i)) for i in range(30)])
        errors.append((phi @ phi.mT - theta).square().mean().sqrt().item())
    assert 3 < errors[0] / errors[1] < 5.3  # 4


@pytest.mark.parametrize("axes", [(-1,), ()])
@pytest.mark.parametrize("dim", [1, 8, 70, 130])
def test_does_not_depend_on_the_batches(monkeypatch, axes, dim):
    net, x, _ = single("residual")
    whole = tt.empirical.features(net, x, dim=dim, generator=seeded(0), trace_axes=axes)
    assert whole.shape == ((4, dim) if axes else (4, 3, dim))
    monkeypatch.setattr(gradients, "samples_at_once", lambda *_, **__: 3)
    assert torch.allclose(tt.empirical.features(net, x, dim=dim, generator=seeded(0), trace_axes=axes), whole)
    made = tt.empirical.Sketch(net, dim=dim, generator=seeded(0), trace_axes=axes)
    assert torch.allclose(torch.cat([made(x[:1]), made(x[1:])]), whole)


def test_signs_come_in_pieces(monkeypatch):
    """Every sign is one of the two, from its seed, with no more at once than stated."""
    made = tt.empirical.Sketch(nn.Linear(3, 1), dim=100, generator=seeded(0))
    monkeypatch.setattr(sketch, "_SIGNS", 1000)
    pieces = list(made._signs(0, 995, torch.float32, torch.device("cpu")))
    assert all(piece.numel() <= 1000 for piece in pieces)
    signs = torch.cat(pieces)
    assert signs.shape == (995, 100)
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert signs.mean().abs() < 4 / signs.numel() ** 0.5
    gram = signs.T @ signs / len(signs)
    assert (gram - torch.eye(100)).abs().max() < 5 / len(signs) ** 0.5  # of 4,950 pairs
    rows = signs @ signs.T / 100
    assert (rows - rows.diagonal().diag()).abs().max() < 6.5 / 10  # of 494,515 pairs
    assert torch.equal(torch.cat(list(made._signs(0, 995, torch.float32, torch.device("cpu")))), signs)
    other = torch.cat(list(made._signs(1, 995, torch.float32, torch.device("cpu"))))
    assert (other * signs).mean().abs() < 4 / signs.numel() ** 0.5


def test_seeds():
    net, x, x2 = single("mlp")
    torch.manual_seed(5)
    first = tt.empirical.features(net, x, dim=9)
    torch.manual_seed(5)
    assert torch.equal(tt.empirical.features(net, x, dim=9), first)
    state = torch.get_rng_state()
    generator = seeded(0)
    a, b = (tt.empirical.features(net, x, dim=9, generator=generator) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(a, b)  # two projections: features of two calls do not belong together
    made = tt.empirical.Sketch(net, dim=4000, generator=seeded(1))
    cross = kernel(*jacobians(net, x), *jacobians(net, x2))
    assert torch.allclose(made(x) @ made(x2).T, cross, atol=0.2 * cross.abs().max())


@pytest.mark.slow
def test_memory_of_a_large_network(elsewhere):
    """A million parameters at dim 512: the signs alone would take 2 GiB."""
    code = """
import resource, torch, torchtangents as tt
torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Linear(100, 1000), torch.nn.ReLU(), torch.nn.Linear(1000, 900), torch.nn.ReLU(), torch.nn.Linear(900, 1))
assert sum(p.numel() for p in net.parameters()) > 1e6 - 1e4
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
phi = tt.empirical.features(net, torch.randn(20, 100), dim=512, progress=False)
assert phi.shape == (20, 512)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **elsewhere)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 500  # MiB: 20 gradients of 4 MB, their copies, and 16 MiB of signs


def test_refusals():
    for dim in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="dim: expected a number of features >= 1"):
            tt.empirical.Sketch(nn.Linear(3, 1), dim=dim)
    net = nn.Linear(3, 1).double()
    made = tt.empirical.Sketch(net, dim=2)
    made(d(2, 3))
    net.bias.requires_grad_(False)
    with pytest.raises(ValueError, match="network of 4 trainable parameters, as before, got 3"):
        made(d(2, 3))
