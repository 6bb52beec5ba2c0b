"""Triton's kernels, interpreted, against the reference in float64: every case, both precisions, bad memory, derivatives."""

import functools

import pytest
import torch

import torchtangents as tt
from torchtangents import cuda

from .. import cases_layers
from ..cases import BY_QUADRATURE, BY_REFERENCE, NETS, inputs
from ..tolerances import FLOAT32, FLOAT32_POOLED, QUADRATURE, SAME

pytest.importorskip("triton")

CASES = [pytest.param(name, marks=[pytest.mark.long] * (name in BY_QUADRATURE)) for name in NETS if name not in BY_REFERENCE]
TABLED = ["fc-sigmoid"]
SINGLE = ["fc-relu", "residual", "two-pools", "layernorm-all"]


def rounded(name, count, seed):
    """The same numbers in both precisions."""
    return inputs(name, count, seed=seed).float().double()


@functools.cache
def oracle(name, crossed):
    net, x = NETS[name](), rounded(name, 2, 1)
    y = rounded(name, 1, 2) if crossed else None
    own = [tt.kernels(net, z, diagonal=True) for z in (x, x if y is None else y)]
    return x, y, tt.kernels(net, x, y, backend="reference"), own


def error(mine, theirs, d1, d2):
    """max |dk| / sqrt(k11 k22) where one number is left, else relative to the largest."""
    assert mine.isfinite().all()
    if theirs.ndim > 2:
        return float((mine - theirs).abs().max() / theirs.abs().max())
    return float(((mine - theirs).abs() / (d1[:, None] * d2[None]).sqrt()).nan_to_num(0, posinf=float("inf")).max())


def worst(name, dtype, crossed, **options):
    x, y, kernels, own = oracle(name, crossed)
    x, y = x.to(dtype), None if y is None else y.to(dtype)
    mine = tt.kernels(NETS[name](), x, y, backend="triton", **options)
    assert mine.nngp.dtype == dtype
    return max(error(m.double(), k, a, b) for m, k, a, b in zip(mine, kernels, *own, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_double_precision(name):
    assert worst(name, torch.float64, crossed=True) < (QUADRATURE if name in BY_QUADRATURE else SAME)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_single_precision(name):
    pooled = "pool" in name or name in cases_layers.MIXING
    assert worst(name, torch.float32, crossed=False) < (FLOAT32_POOLED if pooled else FLOAT32)


@pytest.mark.parametrize("name", SINGLE)
def test_single_precision_of_some(name):
    assert worst(name, torch.float32, crossed=False) < (FLOAT32_POOLED if "pool" in name else FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLED)
def test_functions_by_table(name):
    assert worst(name, torch.float64, crossed=True) < QUADRATURE


@pytest.mark.parametrize("name", ["fc-relu", "residual", "two-pools", "positions"])
def test_tiles_are_the_whole(name):
    for crossed in (False, True):
        assert worst(name, torch.float64, crossed, tile=2) < SAME


@pytest.mark.parametrize("name", ["fc-relu", "stride-2", "two-pools", "input-shortcut", "positions"])
def test_what_memory_held_before_does_not_count(name, monkeypatch):
    empty = torch.empty

    def poisoned(*args, **kwargs):
        out = empty(*args, **kwargs)
        return out.fill_(float("nan")) if out.is_floating_point() else out

    monkeypatch.setattr(torch, "empty", poisoned)
    assert worst(name, torch.float64, crossed=True) < SAME


AWKWARD = {
    "equal": lambda x: torch.cat([x, x]),
    "zero": lambda x: torch.cat([x, 0 * x]),
    "parallel": lambda x: torch.cat([x, 3 * x]),
    "opposite": lambda x: torch.cat([x, -x]),
    "close": lambda x: torch.cat([x, x + 1e-4 * x.flip(0)]),
    "tiny": lambda x: 1e-15 * x,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_inputs_of_a_chain(kind, dtype):
    layers = [m for _ in range(6) for m in (tt.nn.Linear(12, 12, w_std=1.4, b_std=0.0), tt.nn.ReLU())]
    net = torch.nn.Sequential(*layers, tt.nn.Linear(12, 1, b_std=0.0))
    draw = torch.Generator().manual_seed(0)
    x = AWKWARD[kind](torch.randn(4, 12, generator=draw, dtype=torch.float64)).to(dtype)
    own = tt.kernels(net, x.double(), diagonal=True)
    pairs = zip(tt.kernels(net, x, backend="triton"), tt.kernels(net, x.double(), backend="reference"), own, strict=True)
    for mine, theirs, diagonal in pairs:
        scale = diagonal.clamp_min(1e-300)
        parallel = FLOAT32_POOLED if kind in ("parallel", "opposite") else FLOAT32
        assert error(mine.double(), theirs, scale, scale) < (parallel if dtype == torch.float32 else 1e-7)


@pytest.mark.parametrize("name", ["fc-erf", "residual"])
def test_derivatives_are_those_of_the_reference(name):
    x, y = (rounded(name, n, s).requires_grad_() for n, s in ((2, 1), (3, 2)))
    slopes = []
    for backend in ("triton", "reference"):
        k = tt.kernels(NETS[name](), x, y, backend=backend)
        slopes.append(torch.autograd.grad((k.nngp.sin() + k.ntk.cos()).sum(), (x, y)))
    for mine, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_the_backend_is_refused_where_it_has_no_rule():
    with pytest.raises(tt.UnsupportedError, match=r"backend='triton'.*Attend has no compiled rule"):
        tt.ntk(NETS["attention-relu"](), inputs("attention-relu", 2), backend="triton")


def test_inputs_below_all_that_single_precision_squares():
    net = torch.nn.Sequential(tt.nn.Linear(12, 12, b_std=0.0), tt.nn.ReLU(), tt.nn.Linear(12, 1, b_std=0.0))
    for scale in (1e-30, 1e-40, 1e-45):
        assert not any(k.any() for k in tt.kernels(net, torch.full((2, 12), scale), backend="triton"))


@pytest.mark.parametrize("kind", ["chain", "pools"])
def test_small_inputs_of_networks_without_biases_are_scaled(kind):
    draw = torch.Generator().manual_seed(0)
    if kind == "chain":
        net = torch.nn.Sequential(tt.nn.Linear(12, 12, b_std=0.0), tt.nn.ReLU(), tt.nn.Linear(12, 1, b_std=0.0))
        x = torch.randn(3, 12, generator=draw)
    else:
        conv = [tt.nn.Conv2d(2, 2, 3, padding=1, b_std=0.0) for _ in range(2)]
        head = (torch.nn.Flatten(), tt.nn.Linear(32, 1, b_std=0.0))
        net = torch.nn.Sequential(conv[0], tt.nn.ReLU(), tt.nn.AvgPool2d(2), conv[1], tt.nn.LeakyReLU(0.1), *head)
        x = torch.randn(3, 2, 8, 8, generator=draw)
    for plain, small in zip(*(tt.kernels(net, x * s, backend="triton") for s in (1.0, 2.0**-50)), strict=True):
        assert torch.equal(plain * 2.0**-100, small)  # a GPU takes for 0 what is below 1e-38


def test_of_a_triton_before_those_it_ran_with_it_says_so(monkeypatch):
    monkeypatch.setattr("triton.__version__", "3.5.1")
    with pytest.raises(tt.UnsupportedError, match=r"expected triton 3\.6 or later, got 3\.5\.1"):
        tt.ntk(NETS["fc-relu"](), inputs("fc-relu", 2), backend="triton")


def test_without_cuda_it_says_so(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda.why_not() == "torch sees no CUDA device"
    with pytest.raises(tt.UnsupportedError, match="torch sees no CUDA device"):
        tt.ntk(NETS["fc-relu"](), inputs("fc-relu", 2), backend="triton")
