"""Packed planes in registers, interpreted, against the reference in float64: networks of every shape in single precision."""

import pytest
import torch

import torchtangents as tt
from torchtangents.engine import lowering

from ..cases import NETS, inputs
from ..tolerances import FLOAT32_POOLED

pytest.importorskip("triton")
from torchtangents.triton import planes, runs

OFTEN = ["residual-strided", "pool-ceil", "two-pools", "dense-net-raw", "pad-uneven", "sequence-pads"]
SELDOM = [
    "cat", "circular-pool", "circular-stride", "crop", "cut-and-pad", "dilated", "dropout", "dense-net", "h-plus-relu-h",
    "index-channels", "index-flip", "index-list", "index-stride", "input-shortcut", "layernorm-channels-after-relu", "matrix",
    "means-in-three-branches", "mixture-of-means", "mixture-plus-mixture", "mixture-pooled-then-relu", "mixture-then-relu",
    "pool-before-relu", "pool-pad", "pool-pad-exclude", "raw-skip-and-mean", "reflect", "replicate", "residual", "same-even",
    "sequence-adaptive", "sequence-transposed", "standard", "stride-2", "stride-2-1", "stride-3", "sum-pool", "transposed-crop",
    "transposed-dilation", "transposed-standard", "transposed-stride-2", "u-net", "upsample-bilinear", "upsample-nearest",
    "valid-5x3",
]  # fmt: skip


@pytest.fixture
def packed(monkeypatch):
    """Single precision for all that does not end a network's mixing of positions, as of large images, and what ran packed."""
    monkeypatch.setattr(lowering, "_POSITIONS", 1)
    ran, run = [], planes.PackedLaunches.run
    monkeypatch.setattr(planes.PackedLaunches, "run", lambda self, *given: (ran.append(self), run(self, *given)))
    return ran


def agree(net, x, y=None, oracle="reference", **options):
    mine = tt.kernels(net, x, y, backend="triton", progress=False, **options)
    exact = tt.kernels(net, x.double(), None if y is None else y.double(), backend=oracle)
    own = [tt.kernels(net, z.double(), diagonal=True) for z in (x, x if y is None else y)]
    for a, b, left, right in zip(mine, exact, *own, strict=True):
        scale = (left[:, None] * right[None]).sqrt() if b.ndim == 2 else b.abs().max()
        assert (a.double() - b).abs().div(scale).nan_to_num(float("inf")).max() < FLOAT32_POOLED


@pytest.mark.parametrize("name", OFTEN + [pytest.param(name, marks=pytest.mark.long) for name in SELDOM])
def test_networks(name, packed):
    agree(NETS[name](), inputs(name, 2, seed=1).float(), inputs(name, 1, seed=2).float())
    agree(NETS[name](), inputs(name, 2, seed=1).float())
    assert packed


def chain(size, channels=2, depth=2, **options):
    layers = [
        m for i in range(depth) for m in (tt.nn.Conv2d(channels, channels, size, padding=size // 2, **options), tt.nn.ReLU())
    ]
    return torch.nn.Sequential(*layers, tt.nn.GlobalAvgPool(), tt.nn.Linear(channels, 1))


def pictures(count, *shape, seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "shape"), [(3, (1, 9)), (3, (9, 1)), (3, (8, 8)), (3, (6, 10)), (5, (5, 7))], ids=str)
def test_sizes_of_planes_and_windows(shape, size, packed):
    agree(chain(size), pictures(2, 2, *shape))
    assert packed


@pytest.mark.slow
def test_planes_of_a_whole_warp(packed):
    agree(chain(3, depth=1), pictures(1, 2, 32, 32), pictures(1, 2, 32, 32, seed=1), oracle="auto")
    assert packed


def test_planes_beyond_a_warp_run_step_by_step(packed):
    agree(torch.nn.Sequential(*chain(3)[:-2], torch.nn.Flatten(), tt.nn.Linear(2 * 33 * 33, 1)), pictures(1, 2, 33, 33))
    assert not packed


@pytest.mark.parametrize("name", ["two-pools", "residual"])
def test_tiles_are_the_whole(name, packed):
    agree(NETS[name](), inputs(name, 3, seed=1).float(), tile=2)
    agree(NETS[name](), inputs(name, 2, seed=1).float(), inputs(name, 1, seed=2).float(), tile=1)
    assert packed


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that nothing was written to is not a number."""
    empty = torch.empty

    def filled(*args, **kwargs):
        out = empty(*args, **kwargs)
        return out.fill_(float("nan")) if out.is_floating_point() else out

    monkeypatch.setattr(torch, "empty", filled)


@pytest.mark.parametrize("name", ["residual-strided", "two-pools", "dense-net-raw"])
def test_what_memory_held_before_does_not_count(name, packed, poisoned):
    agree(NETS[name](), inputs(name, 2, seed=1).float())
    assert packed


@pytest.mark.parametrize("name", ["residual-strided", "two-pools"])
def test_a_warp_takes_planes_one_after_the_other(name, packed, monkeypatch):
    monkeypatch.setattr(runs, "_BLOCK", 64)
    monkeypatch.setattr(runs, "_PROGRAMS", 1)
    agree(NETS[name](), inputs(name, 2, seed=1).float())
    assert packed


def test_an_exact_plane_that_registers_do_not_hold_goes_step_by_step(packed, monkeypatch):
    monkeypatch.setattr(planes, "_MOST", 8)
    agree(NETS["two-pools"](), inputs("two-pools", 2, seed=1).float())
    assert {p.exact for p in packed} == {False}


def test_pools_of_two_read_sums(packed):
    layers = [*chain(3, depth=1)[:2], tt.nn.AvgPool2d(2), tt.nn.Conv2d(2, 2, 3, padding=1), tt.nn.ReLU(), tt.nn.AvgPool2d((2, 4))]
    agree(torch.nn.Sequential(*layers, torch.nn.Flatten(), tt.nn.Linear(16, 1)), pictures(2, 2, 16, 16))
    assert any(p.spread for p in packed if not p.wide)
    assert any(p.halved for p in packed if p.wide)


@pytest.mark.parametrize(
    "shape", [(4, 4), (12, 20), *(pytest.param(s, marks=pytest.mark.long) for s in ((20, 12), (16, 16)))], ids=str
)
def test_lines_of_planes_add_to_pools(shape, packed, poisoned):
    net = torch.nn.Sequential(*chain(3, depth=1)[:2], tt.nn.AvgPool2d(2), *chain(3, depth=1))
    agree(net, pictures(2, 2, *shape), pictures(1, 2, *shape, seed=1))
    assert any(p.spread for p in packed) == (shape != (4, 4))


def test_lines_of_planes_add_to_what_is_there(packed, monkeypatch):
    run = planes.PackedLaunches.run

    def begun(self, tile, *given):
        if self.spread:
            ((node, _),) = self.reductions
            tile.beside(node, self.spread.target, 1 + self.ntk).zero_()
            tile.begun.add(node)
        return run(self, tile, *given)

    monkeypatch.setattr(planes.PackedLaunches, "run", begun)
    agree(torch.nn.Sequential(*chain(3, depth=1)[:2], tt.nn.AvgPool2d(2), *chain(3, depth=1)), pictures(1, 2, 12, 20))
    assert any(p.spread for p in packed)


class Branches(torch.nn.Module):
    """One value, read by two pools."""

    def __init__(self, size):
        super().__init__()
        self.body = torch.nn.Sequential(*chain(3, depth=1)[:2])
        self.pools = torch.nn.ModuleList([tt.nn.AvgPool2d(2), tt.nn.AvgPool2d(size)])
        self.heads = torch.nn.ModuleList([chain(3, depth=1) for _ in range(2)])

    def forward(self, x):
        h = self.body(x)
        return sum(head(pool(h)) for pool, head in zip(self.pools, self.heads, strict=True))


@pytest.mark.parametrize("size", [2, 4, 16])
def test_a_value_that_two_pools_read_is_kept_whole(size, packed):
    agree(Branches(size), pictures(2, 2, 16, 16))
    assert packed
    assert not any(p.halved for p in packed if len(p.reductions) > 1)


def test_other_slopes_and_no_bias(packed):
    net = chain(3, b_std=0.0)
    net[1], net[3] = tt.nn.LeakyReLU(0.3), tt.nn.Abs()
    agree(net, pictures(2, 2, 6, 6))
    assert packed


def test_zero_and_equal_and_opposite_inputs(packed):
    x = pictures(1, 2, 6, 6)
    net = torch.nn.Sequential(*chain(3, b_std=0.0)[:-1], tt.nn.Linear(2, 1, b_std=0.0))
    mine = tt.kernels(net, torch.cat([x, x, -x, 0 * x]), backend="triton")
    exact = tt.kernels(net, torch.cat([x, x, -x, 0 * x]).double(), backend="reference")
    for a, b in zip(mine, exact, strict=True):
        assert (a.double() - b).abs().max() < FLOAT32_POOLED * b.max()
        assert not a[3].any()
    assert packed
