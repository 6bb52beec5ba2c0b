"""The networks and the recipes of the empirical cases, on small copies of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import finite, peers
from benchmarks.finite_models import ResNet18, VisionTransformer

NETS = {"fc": (("fc", 6, 2, 3), (4,)), "cnn": (("cnn", 4, 2, 3), (3, 6, 6))}
MODELS = {"resnet18": lambda: ResNet18(3, 4), "vit": lambda: VisionTransformer(3, 12, 2, 3, 4, 8)}


def brute_force(model, x1, x2):
    """The trace over outputs of the products of Jacobians, divided by their number."""

    def jacobian(x):
        rows = [torch.autograd.grad(o, list(model.parameters()), retain_graph=True) for o in model(x).flatten()]
        return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows]).unflatten(0, (len(x), -1))

    j1, j2 = jacobian(x1), jacobian(x2)
    return torch.einsum("iop,jop->ij", j1, j2) / j1.shape[1]


@pytest.mark.parametrize("peer", ["torch-func", "torch-func-vp"])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_the_recipes_compute_the_ntk(name, same, peer):
    kind, shape = NETS[name]
    net = (("finite", *kind),)
    x1, x2 = (np.random.default_rng(s).standard_normal((n, *shape)) for s, n in ((0, 3), (1, 2)))
    (found,) = peers.module(peer).prepare(net, x1, None if same else x2, ("ntk",))()
    model = finite.build(net, shape).double()
    expected = brute_force(model, *map(torch.from_numpy, (x1, x1 if same else x2)))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NETS)
def test_weights_are_drawn_again_the_same(name):
    kind, shape = NETS[name]
    net = (("finite", *kind),)
    model, drawn = finite.build(net, shape).double(), finite.weights(finite.chain(net, shape))
    for p, w in zip(model.parameters(), drawn, strict=True):
        torch.testing.assert_close(p.detach(), torch.from_numpy(w), rtol=1e-6, atol=1e-7)
    assert model(torch.zeros(2, *shape).double()).shape == (2, 3)


@pytest.mark.parametrize("name", MODELS)
def test_models_run(name):
    out = MODELS[name]().eval()(torch.randn(2, 3, 8, 8))
    assert out.shape == (2, 3)
    assert out.isfinite().all()


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="expected a network of"):
        finite.build((("finite", "lstm"),), (4,))
