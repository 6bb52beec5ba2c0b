"""csrc against the reference in float64: every case, both precisions, every instruction set."""

import functools

import pytest
import torch

import torchtangents as tt
from torchtangents import native
from torchtangents.engine import numbers
from torchtangents.engine.cpu import Prepared
from torchtangents.engine.needs import output_planes
from torchtangents.graph.program import record

from .. import cases_layers
from ..cases import AWKWARD, BY_QUADRATURE, BY_REFERENCE, NETS, drawn, inputs
from ..tolerances import FLOAT32, FLOAT32_POOLED, QUADRATURE, SAME

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")

CASES = [pytest.param(name, marks=[pytest.mark.slow] * (name in BY_QUADRATURE)) for name in NETS if name not in BY_REFERENCE]
SIZES = {
    "shared": lambda name, dtype: (rounded(name, 5, 1).to(dtype), None),
    "cross": lambda name, dtype: (rounded(name, 3, 1).to(dtype), rounded(name, 19, 2).to(dtype)),
}
BOTH = [  # of functions by quadrature, whose oracle is slow, the symmetric half is a long draw
    pytest.param(
        name, sides, marks=([], [pytest.mark.slow], [pytest.mark.long])[(name in BY_QUADRATURE) * (1 + (sides == "shared"))]
    )
    for name in NETS
    if name not in BY_REFERENCE
    for sides in SIZES
]


def rounded(name, count, seed):
    """The same numbers in both precisions."""
    return inputs(name, count, seed=seed).float().double()


def error(mine, oracle, d1, d2):
    """max |dk| / sqrt(k11 k22) where one number is left, else relative to the largest."""
    mine = mine.double()
    if oracle.ndim > 2:
        return float((mine - oracle).abs().max() / oracle.abs().max())
    return float(((mine - oracle).abs() / (d1[:, None] * d2[None]).sqrt()).nan_to_num(0, posinf=float("inf")).max())


@functools.cache
def oracle(name, sides):
    net = NETS[name]()
    x, y = SIZES[sides](name, torch.float64)
    own = [tt.kernels(net, z, diagonal=True) for z in (x, x if y is None else y)]
    return tt.kernels(net, x, y, backend="reference"), own


def agrees(name, sides, mine, tolerance):
    kernels, own = oracle(name, sides)
    assert all(m.isfinite().all() for m in mine)
    return all(error(m, k, a, b) < tolerance for m, k, a, b in zip(mine, kernels, *own, strict=True))


@pytest.mark.parametrize(("name", "sides"), BOTH)
def test_double_precision(name, sides):
    mine = tt.kernels(NETS[name](), *SIZES[sides](name, torch.float64), backend="cpu")
    assert agrees(name, sides, mine, QUADRATURE if name in BY_QUADRATURE else SAME)


@pytest.mark.parametrize(("name", "sides"), BOTH)
def test_single_precision(name, sides):
    mine = tt.kernels(NETS[name](), *SIZES[sides](name, torch.float32), backend="cpu")
    assert mine.ntk.dtype == torch.float32
    assert agrees(name, sides, mine, FLOAT32_POOLED if "pool" in name or name in cases_layers.MIXING else FLOAT32)


@pytest.mark.parametrize("name", CASES)
def test_the_covariance_alone(name):
    x, y = SIZES["cross"](name, torch.float64)
    both = tt.kernels(NETS[name](), x, y, backend="cpu").nngp
    alone = tt.nngp(NETS[name](), x, y, backend="cpu")
    assert float((both - alone).abs().max()) <= SAME * float(both.abs().max())


@pytest.mark.parametrize("instructions", native.instructions())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_instruction_set(name, dtype, instructions):
    net, (x, _) = NETS[name](), SIZES["shared"](name, dtype)
    program = record(net, (x,))
    wanted = output_planes(program, program)
    best = Prepared(program, program, wanted, True).run(None, False)
    mine = Prepared(program, program, wanted, True, instructions).run(None, False)
    for a, b in zip(mine, best, strict=True):
        assert float((a - b).abs().max()) <= (FLOAT32 if dtype == torch.float32 else SAME) * float(b.abs().max())


@pytest.mark.parametrize("size", [(9, 8), (8, 5), (7, 11)])
@pytest.mark.parametrize("name", [name for name in AWKWARD if type(AWKWARD[name]()[-2]) is tt.nn.GlobalAvgPool])
def test_inputs_of_two_sizes(name, size):
    net, x, y = AWKWARD[name](), inputs(name), torch.randn(2, 3, *size, dtype=torch.float64)
    for mine, other in zip(tt.kernels(net, x, y, backend="cpu"), tt.kernels(net, x, y, backend="reference"), strict=True):
        assert float((mine - other).abs().max() / other.abs().max()) < SAME


@pytest.mark.parametrize("name", sorted(BY_REFERENCE))
def test_what_has_no_rule_is_refused_by_name_and_left_to_the_reference(name):
    net, x = NETS[name](), inputs(name)
    with pytest.raises(tt.UnsupportedError, match=BY_REFERENCE[name]):
        tt.kernels(net, x, backend="cpu")
    assert torch.equal(tt.ntk(net, x), tt.ntk(net, x, backend="reference"))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("tile", [1, 2, 100])
def test_tiles_and_threads_change_nothing(tile, threads):
    net, x = NETS["residual-strided"](), inputs("residual-strided", 7)
    whole = tt.kernels(net, x, backend="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        mine = tt.kernels(net, x, backend="cpu", tile=tile)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(mine.ntk, whole.ntk)
    assert torch.equal(mine.nngp, whole.nngp)


def test_numbers_of_each_input_are_the_same_by_one_thread_and_by_several(monkeypatch):
    net, x = NETS["residual-strided"](), inputs("residual-strided", 40)
    results = []
    for few in (0, 1 << 40):
        monkeypatch.setattr(numbers, "_FEW", few)
        results.append(tt.ntk(net, x, backend="cpu"))
    assert torch.equal(*results)


def test_duplicates_in_a_fully_connected_net():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 784, generator=generator)
    x[180:190] = x[:10]
    x[190:] = x[10:20] * (1 + 1e-6 * torch.randn(10, 784, generator=generator))
    net = torch.nn.Sequential(
        *[layer for _ in range(6) for layer in (tt.nn.Linear(784, 784), torch.nn.ReLU())], tt.nn.Linear(784, 1)
    )
    oracle = tt.kernels(net, x.double(), backend="reference")
    for mine, other in zip(tt.kernels(net, x, backend="cpu"), oracle, strict=True):
        own = other.diagonal()
        assert error(mine, other, own, own) < FLOAT32


ALLOWING = {
    "medium": lambda monkeypatch: torch.set_float32_matmul_precision("medium"),
    "high": lambda monkeypatch: torch.set_float32_matmul_precision("high"),
    "of products": lambda monkeypatch: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
}


@pytest.mark.parametrize("allow", ALLOWING.values(), ids=ALLOWING)
def test_products_that_torch_may_round_are_in_double_precision(allow, monkeypatch):
    """torch.set_float32_matmul_precision lets products of float32 be of bfloat16 on some processors."""
    net = torch.nn.Sequential(tt.nn.Linear(40, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1))
    x = drawn((30, 40), torch.float32, 0)
    exact = tt.kernels(net, x.double(), backend="cpu")
    try:
        allow(monkeypatch)
        mine = tt.kernels(net, x, backend="cpu")
    finally:
        monkeypatch.undo()
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")
    assert all(torch.equal(a, b.float()) for a, b in zip(mine, exact, strict=True))
    single = tt.ntk(net, x, backend="cpu")
    assert not torch.equal(single, mine.ntk)


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float32, 1.2e19), (torch.float64, 8e153)])
@pytest.mark.parametrize("normalised", [False, True])
def test_values_that_nearly_overflow_are_right_or_refused(dtype, largest, normalised):
    first = [tt.nn.LayerNorm(2), tt.nn.Linear(2, 6, bias=False)] if normalised else []
    net = torch.nn.Sequential(
        tt.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), *first, torch.nn.ReLU(), tt.nn.Linear(6 if first else 2, 1, bias=False)
    )
    x = torch.tensor([[1.0, 0.1], [-1.0, 0.5], [0.9, -0.5], [0.5, -0.1], [-0.7, 1.0]], dtype=torch.float64)
    unit = 1e9 if normalised else 1.0  # far above LayerNorm's eps
    plain, refused = tt.kernels(net, x * unit, backend="reference"), 0
    tolerance = FLOAT32 if dtype == torch.float32 else 1e-12
    for scale in torch.linspace(0.3, 1.5, 25).tolist():
        scale *= largest
        try:
            kernels = tt.kernels(net, (x * scale).to(dtype), backend="cpu")
        except OverflowError:
            refused += 1
            continue
        for mine, other in zip(kernels, plain, strict=True):
            other = other if normalised else other * scale * scale
            assert float(((mine.double() - other) / other.abs().max()).abs().max()) < tolerance
    assert 0 < refused < 25
