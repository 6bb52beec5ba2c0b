"""Hyperparameters of every network of the table: found, set, and enough without the weights."""

import copy

import pytest
import torch

import torchtangents as tt
from tests.cases import NETS, inputs
from torchtangents.nn.hyperparameters import hyperparameters, skeleton

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", NETS)
def test_a_skeleton_has_the_same_kernel_and_no_weights(name):
    net, x = NETS[name](), inputs(name, 2)
    bare = skeleton(net)
    assert all(p.is_meta for p in bare.parameters() if not torch.nn.parameter.is_lazy(p))
    assert not any(p.is_meta for p in net.parameters() if not torch.nn.parameter.is_lazy(p))
    for mine, theirs in zip(tt.kernels(copy.deepcopy(bare), x), tt.kernels(net, x), strict=True):
        assert torch.equal(mine, theirs)


UNUSED = {  # by the formula
    "sign-of-zeros": {"0.w_std", "2.w_std"},  # a sign knows no scale where there is no bias
    "fc-monomial-0": {"0.w_std", "0.b_std", "2.w_std", "2.b_std"},  # x^0
    "dense-net-raw": {"0.stem.w_std", "0.stem.b_std"},  # a layer that forward does not call
}


@pytest.mark.parametrize("name", NETS)
def test_every_hyperparameter_counts(name):
    net, x = skeleton(NETS[name]()), inputs(name, 2)
    found = hyperparameters(net)
    assert len({(h.layer, h.name) for h in found}) == len(found)
    values = [torch.tensor(float(h.value) + 0.05, dtype=torch.float64, requires_grad=True) for h in found]
    for h, value in zip(found, values, strict=True):
        h.assign(value)
    if not found:
        return
    nngp, ntk = tt.kernels(net, x)
    slopes = torch.autograd.grad(nngp.sum() + ntk.sum(), values, materialize_grads=True)
    assert all(torch.isfinite(s) for s in slopes)
    assert {f"{h.layer}.{h.name}" for h, s in zip(found, slopes, strict=True) if abs(s) < 1e-12} == UNUSED.get(name, set())
