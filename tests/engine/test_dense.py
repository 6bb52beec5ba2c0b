"""The planes executor against whole covariances: the same to 1e-14, on every case."""

import pytest
import torch

import torchtangents as tt
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from .. import cases_layers
from ..cases import AWKWARD, BY_QUADRATURE, NETS, arguments, inputs

POOLED = [name for name in AWKWARD if type(AWKWARD[name]()[-2]) is tt.nn.GlobalAvgPool]
OF_ANY_SIZE = [
    name
    for name in cases_layers.IMAGES
    if name.startswith(("transposed", "u-net", "upsample", "reflect", "replicate", "index", "group"))
    and type(NETS[name]()[-2]) is tt.nn.GlobalAvgPool
]


def assert_equal_to_scale(mine, oracle, tolerance):
    assert float((mine - oracle).abs().max() / oracle.abs().max()) < tolerance


def test_there_are_sixteen_awkward_geometries():
    assert len(AWKWARD) >= 16
    assert len(POOLED) >= 8


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", NETS)
def test_planes_match_dense(name, backend):
    net, x = NETS[name](), inputs(name)
    program = record(net, arguments(x))
    for mine, oracle in zip(tt.kernels(net, x, backend=backend), dense_kernels(program, program), strict=True):
        assert_equal_to_scale(mine, oracle, 1e-10 if name in BY_QUADRATURE else 1e-14)


@pytest.mark.parametrize("name", OF_ANY_SIZE)
@pytest.mark.parametrize("size", [(4, 6), (5, 4), (9, 5)])
def test_more_layers_of_two_sizes_match_dense(name, size):
    net, first = NETS[name](), inputs(name)
    second = torch.randn(2, 2, *size, dtype=torch.float64)
    dense = dense_kernels(record(net, (first,)), record(net, (second,)))
    for backend in ("reference", "auto"):
        for mine, oracle in zip(tt.kernels(net, first, second, backend=backend), dense, strict=True):
            assert_equal_to_scale(mine, oracle, 1e-14)


@pytest.mark.parametrize("name", POOLED)
@pytest.mark.parametrize("size", [(9, 8), (8, 5), (7, 11)])
def test_inputs_of_two_sizes_match_dense(name, size):
    net, first = AWKWARD[name](), inputs(name)
    second = torch.randn(2, 3, *size, dtype=torch.float64)
    dense = dense_kernels(record(net, (first,)), record(net, (second,)))
    for mine, oracle in zip(tt.kernels(net, first, second), dense, strict=True):
        assert_equal_to_scale(mine, oracle, 1e-14)
