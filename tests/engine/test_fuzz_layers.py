"""Random networks of more layers: the reference against whole covariances, csrc against the reference."""

import pytest
import torch

import torchtangents as tt
from torchtangents import native
from torchtangents.covariance.refusal import NotNative
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record
from torchtangents.kernels import _arranged

from ..fuzz_layers import drawn
from .test_fuzz import errors, tolerance

SMALL, NEAR = 200, 1e-6  # values of one input; of angles near 0, where the oracle carries no distances, a rounding's root is left


def refused(attempt):
    try:
        attempt()
    except (tt.UnsupportedError, NotNative):
        return 1
    return 0


def against_dense(seed):
    draw = drawn(f"{seed}", ["baseline"])
    x1, x2 = draw.x1[:4], None if draw.x2 is None else draw.x2[:4]
    for x in (x1, x1 if x2 is None else x2):
        if x[0].numel() > SMALL or bool((x == 0).flatten(1).all(1).any()):  # behind a norm a zero may have no angle at all
            raise tt.UnsupportedError
    first = record(draw.net, (x1,))
    second = first if x2 is None else record(draw.net, (x2,))
    mine = tt.kernels(draw.net, x1, x2, backend="reference", progress=False)
    for k, whole in zip(mine, dense_kernels(first, second), strict=True):
        oracle = _arranged(whole, first, second, 2)
        assert float((k - oracle).abs().max()) <= NEAR * float(oracle.abs().max()), draw


def against_reference(seed):
    draw = drawn(f"{seed}", native.instructions())
    assert max(errors(draw)) <= tolerance(draw), draw


@pytest.mark.parametrize("first", [0, *(pytest.param(i, marks=pytest.mark.long) for i in range(100, 5000, 100))])
def test_the_reference_is_the_dense_oracle(first):
    count = 60 if first == 0 else 100
    assert sum(refused(lambda s=s: against_dense(s)) for s in range(first, first + count)) < count / 2


@pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")
@pytest.mark.parametrize("first", [0, *(pytest.param(i, marks=pytest.mark.long) for i in range(100, 5000, 100))])
def test_compiled_code_is_the_reference(first):
    count = 60 if first == 0 else 100
    assert sum(refused(lambda s=s: against_reference(s)) for s in range(first, first + count)) < count / 2


def test_a_seed_gives_one_draw():
    one, two = (drawn("3", ["baseline"]) for _ in range(2))
    assert str(one) == str(two)
    assert torch.equal(one.x1, two.x1)
