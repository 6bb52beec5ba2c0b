"""Pseudo-NTKs: by their definition, and against the NTK in the mean over last layers."""

import pytest
import torch
from torch import nn

import torchtangents as tt

from ..finite_networks import NETWORKS
from .oracle import jacobians, kernel, single


@pytest.mark.parametrize("tile", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_by_definition(name, tile):
    net, x1, x2 = single(name)
    j1, j2 = (j.reshape(len(j), -1, j.shape[-1]) for j in (*jacobians(net, x1), *jacobians(net, x2)))  # (N, O, P)
    outputs = j1.shape[1]
    for options, scalars in (
        ({}, [j.sum(1) / outputs**0.5 for j in (j1, j2)]),
        ({"kind": "one_logit"}, [j[:, 0] for j in (j1, j2)]),
        ({"kind": "one_logit", "logit": -1}, [j[:, -1] for j in (j1, j2)]),
    ):
        cross = tt.empirical.pseudo_ntk(net, x1, x2, tile=tile, **options)
        assert torch.allclose(cross, scalars[0] @ scalars[1].T, atol=1e-10)
        own = tt.empirical.pseudo_ntk(net, x1, tile=tile, **options)
        assert torch.allclose(own, scalars[0] @ scalars[0].T, atol=1e-10)
        assert torch.equal(own, own.T)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sum_of_logits", "one_logit"])
def test_mean_over_last_layers_is_the_traced_ntk(kind):
    torch.manual_seed(3)
    net, x, count = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 5)).double(), torch.randn(4, 3).double(), 200
    gaps = []
    for _ in range(count):
        nn.init.normal_(net[2].weight, std=20**-0.5)
        gaps.append(tt.empirical.pseudo_ntk(net, x, kind=kind) - kernel(*jacobians(net, x), *jacobians(net, x)))
    gaps = torch.stack(gaps)
    assert gaps.std() > 1e-2
    assert (gaps.mean(0).abs() < 4 * gaps.std(0) / count**0.5).all()


def test_one_output_is_the_ntk():
    net, x, _ = single("flat")
    for kind in ("sum_of_logits", "one_logit"):
        assert torch.allclose(tt.empirical.pseudo_ntk(net, x, kind=kind), kernel(*jacobians(net, x), *jacobians(net, x)))


def test_refusals():
    net, x = nn.Linear(3, 2), torch.randn(4, 3)
    with pytest.raises(ValueError, match="kind: expected 'sum_of_logits' or 'one_logit', got 'all'"):
        tt.empirical.pseudo_ntk(net, x, kind="all")
    for logit in (2, -3, 0.5):
        with pytest.raises(ValueError, match="logit: expected one of 2 outputs"):
            tt.empirical.pseudo_ntk(net, x, kind="one_logit", logit=logit)
    for tile in (0, -1, 1.5):
        with pytest.raises(ValueError, match="tile: expected a positive number"):
            tt.empirical.pseudo_ntk(net, x, tile=tile)
