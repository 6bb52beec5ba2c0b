"""Exact diagonals and traces, with samples together and one by one."""

import pytest
import torch

import torchtangents as tt
from torchtangents.empirical.functional import Function
from torchtangents.empirical.gradients import SampleGradients

from .oracle import jacobians, kernel, single
from .test_operator import CASES


@pytest.mark.parametrize(("name", "axes"), CASES)
def test_diagonal_and_trace(name, axes):
    net, x, _ = single(name)
    (j,) = jacobians(net, x)
    theta = kernel(j, j, axes)
    found = tt.empirical.diagonal(net, x, trace_axes=axes)
    n = j.ndim - 1
    kept = [j.shape[a] for a in range(1, n) if a not in {b % n for b in axes}]
    assert found.shape == (len(j), *kept)
    assert torch.allclose(found.flatten(), theta.diagonal(), rtol=1e-10)
    assert torch.allclose(tt.empirical.trace(net, x, trace_axes=axes), theta.trace(), rtol=1e-10)


@pytest.mark.parametrize("name", ["mlp", "residual", "language", "recurrent", "transformer"])
def test_blocks_of_gradients_do_not_depend_on_memory(name):
    net, x, _ = single(name)
    (j,) = jacobians(net, x)
    function = Function(net, x)
    gradients = SampleGradients(function)
    assert gradients.together == (name != "recurrent")  # torch cannot run an LSTM under vmap
    for samples in (1, 2, 100):
        for together in {False, gradients.together}:
            gradients.samples, gradients.together = samples, together
            found = torch.full((len(j), gradients.outputs, gradients.size), torch.nan, dtype=torch.float64)
            for rows, outputs, block in gradients.of_outputs(function.data, False):
                found[rows, outputs] = block.transpose(0, 1)
            assert torch.allclose(found, j.flatten(1, -2), atol=1e-11)


def test_selected_parameters():
    net, x, _ = single("residual")
    (j,) = jacobians(net, x, ["last.weight", "first.bias"])
    found = tt.empirical.diagonal(net, x, parameters=["last.weight", "first.bias"], trace_axes=())
    assert torch.allclose(found, j.square().sum(-1))


def test_a_result_that_overflows():
    net = torch.nn.Linear(2, 1)
    with pytest.raises(OverflowError, match="not finite"):
        tt.empirical.diagonal(net, torch.full((2, 2), 1e30))
