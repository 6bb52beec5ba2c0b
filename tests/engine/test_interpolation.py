"""Tables of functions without a closed form, against their integrals."""

import pytest
import torch

import torchtangents as tt
from torchtangents.covariance.pair import Pair
from torchtangents.covariance.pointwise import Pointwise
from torchtangents.covariance.refusal import NotNative
from torchtangents.engine.interpolation import interpolant
from torchtangents.graph.program import record

from ..tolerances import QUADRATURE

pytestmark = pytest.mark.slow

SMOOTH = [torch.nn.Tanh, torch.nn.Sigmoid, torch.nn.SiLU, torch.nn.ELU, torch.nn.SELU, torch.nn.Softplus]
RANGES = [(1.0, 1.0), (0.8, 1.3), (0.3, 2.0)]


def dual_of(activation):
    net = torch.nn.Sequential(tt.nn.Linear(3, 4), activation(), tt.nn.Linear(4, 1))
    program = record(net, (torch.ones(1, 3, dtype=torch.float64),))
    return next(s.dual for s in program.steps if isinstance(s, Pointwise))


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize("activation", SMOOTH)
def test_tables_match_integrals(activation, low, high):
    dual = dual_of(activation)
    table = interpolant(dual, low, high)
    x, y, t = torch.rand(3, 100, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x, y, theta = low + (high - low) * x, low + (high - low) * y, 3.14159 * t
    pair = Pair(x * x, y * y, x * y * theta.cos())
    for mine, exact in zip(table.at(x, y, theta), (dual.nngp(pair), dual.slope(pair)), strict=True):
        assert float((mine - exact).abs().max()) < QUADRATURE * float(exact.abs().max())


def test_equal_deviations_need_one_coefficient():
    assert interpolant(dual_of(torch.nn.Tanh), 0.7, 0.7).value.shape[0] == 1


@pytest.mark.parametrize("activation", [torch.nn.Hardtanh, torch.nn.ReLU6])
def test_kinks_away_from_zero_are_refused(activation):
    with pytest.raises(NotNative, match="no table is accurate for standard deviations from"):
        interpolant(dual_of(activation), 0.5, 2.0)


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ELU])
@pytest.mark.parametrize("low", [1.0, 1e18, float("inf")])
@pytest.mark.parametrize("high", [1e18, float("inf")])
def test_deviations_beyond_rounding_are_refused(activation, low, high):
    with pytest.raises(NotNative, match="no table is accurate for standard deviations up to"):
        interpolant(dual_of(activation), low, high)


def test_constants_are_in_the_order_of_csrc():
    table = interpolant(dual_of(torch.nn.Sigmoid), 0.8, 1.3)
    r, k, centre, scale, *rest = table.constants
    assert (r, k, centre, scale) == (*table.value.shape[:2], table.centre, table.scale)
    assert rest == torch.cat([table.value.flatten(), table.slope.flatten()]).tolist()
