"""Sums of branches as csrc is given them. That their kernels are right is swept over the table of cases in test_cpu.py."""

import pytest
import torch

import torchtangents as tt
from torchtangents import native
from torchtangents.engine.cpu import Prepared
from torchtangents.engine.needs import output_planes
from torchtangents.engine.operations import Kind
from torchtangents.engine.segments import Gather
from torchtangents.graph.program import record

from ..cases import NETS, STRUCTURE, drawn, inputs
from ..tolerances import FLOAT32

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")

RESIDUAL = [name for name in STRUCTURE if name.startswith("residual")]
SUMS = {
    "residual": 1,
    "residual-strided": 1,
    "residual-chain": 4,
    "residual-flatten": 3,
    "residual-untied": 2,
    "residual-of-relu": 2,
    "residual-gains": 1,
}


def segments(name):
    program = record(NETS[name](), (inputs(name, 2, dtype=torch.float32),))
    return Prepared(program, program, output_planes(program, program), True).low.segments


@pytest.mark.parametrize("name", SUMS)
def test_every_sum_ends_a_convolution(name):
    steps = [step for segment in segments(name) for step in segment.steps]
    assert not any(step.gather == Gather.MIX and len(step.sources) > 1 for step in steps)
    sums = [step for step in steps if step.gather == Gather.MAP and len(step.sources) == 2]
    assert len(sums) == SUMS[name]
    assert all([o.kind for o in step.operations] == [Kind.AFFINE] for step in sums)


@pytest.mark.parametrize("name", RESIDUAL)
def test_a_function_of_a_sum_is_next_to_it_and_overwrites_nothing_that_it_reads(name):
    for segment in segments(name):
        for step, after in zip(segment.steps, segment.steps[1:], strict=False):
            if step.gather != Gather.MAP or len(step.sources) == 1:
                continue
            functions = [s for s in segment.steps if s.gather == Gather.MIX and s.sources == [step]]
            assert not functions or after in functions
            assert after.buffer not in {step.buffer, *(s.buffer for s in step.sources)}


@pytest.mark.parametrize("name", RESIDUAL)
def test_every_step_is_read_after_it_was_made_and_before_it_is_overwritten(name):
    for segment in segments(name):
        held = {}
        for step in segment.steps:
            assert all(held[source.buffer] is source for source in step.sources)
            held[step.buffer] = step
        assert step is segment.steps[-1]


@pytest.mark.parametrize("name", [name for name in RESIDUAL if type(NETS[name]()[-2]) is tt.nn.GlobalAvgPool])
def test_images_of_which_most_planes_are_in_single_precision(name):
    x, y = (drawn((n, 3, 33, 32), torch.float32, seed) for n, seed in ((1, 1), (5, 2)))
    program = record(NETS[name](), (x,))
    first = Prepared(program, program, output_planes(program, program), True).low.segments[0]
    assert sum(wide for *_, wide, _ in first.planes) < len(first.planes) / 2
    double = tt.kernels(NETS[name](), x.double(), y.double(), backend="cpu")
    for mine, other in zip(tt.kernels(NETS[name](), x, y, backend="cpu"), double, strict=True):
        assert float((mine - other).abs().max() / other.abs().max()) < FLOAT32
