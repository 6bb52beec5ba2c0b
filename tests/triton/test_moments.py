"""Deviations straight from the data are those of a pass over self blocks."""

import pytest
import torch

import torchtangents as tt

from ..cases import BY_QUADRATURE, BY_REFERENCE, NETS, inputs

pytest.importorskip("triton")
from torchtangents.triton import execute
from torchtangents.triton.moments import covers, deviations


class Prepared(Exception):
    """What would have run."""


@pytest.mark.parametrize("name", [n for n in NETS if n not in BY_REFERENCE and n not in BY_QUADRATURE])
def test_both_ways(name, monkeypatch):
    def stop(self, tile, progress):
        raise Prepared(self)

    monkeypatch.setattr(execute.Prepared, "run", stop)
    with pytest.raises(Prepared) as found:
        tt.kernels(NETS[name](), inputs(name, 2), backend="triton")
    (prepared,) = found.value.args
    slots = list(prepared.slots)
    if slots and covers(prepared.low, slots):
        mine = deviations(prepared.low, slots, prepared.low.inputs1.rows(), 0)
        torch.testing.assert_close(mine, execute._kept(prepared.first, slots), rtol=1e-13, atol=1e-300)
