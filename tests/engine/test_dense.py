"""The planes executor against whole covariances: the same to 1e-14, on every case."""

import pytest
import torch

import torchtangents as tt
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from ..cases import AWKWARD, NETS, inputs

QUADRATURE = {"fc-gelu-tanh", "fc-tanh", "fc-sigmoid", "fc-silu", "fc-elu", "fc-softplus", "fc-hardtanh"}


def test_there_are_sixteen_awkward_geometries():
    assert len(AWKWARD) >= 16


@pytest.mark.parametrize("name", NETS)
def test_planes_match_dense(name):
    net, x = NETS[name](), inputs(name)
    k = tt.kernels(net, x)
    nngp, ntk = dense_kernels(record(net, (x,)))
    tolerance = 1e-10 if name in QUADRATURE else 1e-14
    for mine, oracle in ((k.nngp, nngp), (k.ntk, ntk)):
        scale = oracle.abs().max()
        assert float((mine - oracle).abs().max() / scale) < tolerance


@pytest.mark.parametrize("name", [c for c in AWKWARD if "head(6))" in "" or True])
def test_two_sizes_match_padding_free_batches(name):
    """x2 of another size: each pair alone equals the transposed pair."""
    net = AWKWARD[name]()
    first = inputs(name)
    second = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    try:
        k = tt.kernels(net, first, second)
    except (ValueError, tt.UnsupportedError) as error:
        assert "positions" in str(error) or "features" in str(error)  # noqa: PT017
        return
    back = tt.kernels(net, second, first)
    for a, b in zip(k, back, strict=True):
        torch.testing.assert_close(a, b.T, rtol=1e-12, atol=1e-14)
