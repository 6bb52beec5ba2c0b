"""The ReLU family's derivatives in closed form: against autograd through every step, finite differences, and equal inputs."""

import pytest
import torch

from torchtangents import native
from torchtangents.covariance.bent import bow, expectations, plain
from torchtangents.covariance.pair import Pair

from ..tolerances import SAME

FIELDS = ("nngp", "slope", "distance")


def drawn(carried=True):
    """Variances and covariances of 40 pairs, some nearly parallel and some obtuse, and D where it is carried."""
    draw = torch.Generator().manual_seed(0)
    u, w = torch.randn(2, 40, 3, generator=draw, dtype=torch.float64)
    v = torch.cat([u[:10] + 1e-3 * w[:10], -u[10:20] + 0.1 * w[10:20], w[20:]])
    parts = [(u * v).mean(-1), (u - v).square().mean(-1) if carried else None, u.square().mean(-1), v.square().mean(-1)]
    constants = [torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)]
    return [t if t is None else t.clone().requires_grad_() for t in (*parts, *constants)]


def through(function, given, fields, far=True):
    q, d, v1, v2, level, bend = given
    out = dict(zip(FIELDS, function(Pair(v1, v2, q, d), level, bend, far), strict=True))
    weights = {f: torch.linspace(-1, 2, 40, dtype=torch.float64).roll(i) for i, f in enumerate(FIELDS)}
    total = sum((out[f] * weights[f]).sum() for f in fields)
    asked = [t for t in given if t is not None]
    return torch.autograd.grad(total, asked, allow_unused=True, materialize_grads=True)


def by_everything(given, slopes):
    """Derivatives by q, v1, v2 and the constants, with D = v1 + v2 - 2 q as what it is: steps share them out differently."""
    slopes = list(slopes)
    if given[1] is not None:
        d = slopes.pop(1)
        slopes[0], slopes[1], slopes[2] = slopes[0] - 2 * d, slopes[1] + d, slopes[2] + d
    return slopes


@pytest.mark.parametrize("carried", [True, False])
@pytest.mark.parametrize("fields", [("nngp",), ("slope",), ("distance",), FIELDS], ids="-".join)
def test_derivatives_are_those_of_the_steps(fields, carried):
    given = drawn(carried)
    mine, theirs = (by_everything(given, through(f, given, fields)) for f in (expectations, plain))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7 * float(b.abs().max()))


def test_derivatives_of_derivatives():
    given = [t[20:] if t.ndim else t for t in drawn(False) if t is not None]
    given = [t.detach().clone().requires_grad_() for t in given]

    def both(q, v1, v2, level, bend):
        return expectations(Pair(v1, v2, q, v1 + v2 - 2 * q), level, bend, True)

    assert torch.autograd.gradcheck(both, given)
    assert torch.autograd.gradgradcheck(both, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["equal", "zero", "opposite"])
def test_derivatives_are_finite_where_angles_end(kind, dtype):
    one = torch.ones(5, dtype=dtype)
    q, d, v1, v2 = {
        "equal": (one, 0 * one, one, one), "zero": (0 * one, one, 0 * one, one), "opposite": (-one, 4 * one, one, one),
    }[kind]  # fmt: skip
    given = [t.clone().requires_grad_() for t in (q, d, v1, v2)]
    out = expectations(Pair(given[2], given[3], given[0], given[1]), 0.5, 0.3, True)
    for slope in torch.autograd.grad([o.sum() for o in out], given):
        assert slope.isfinite().all()


@pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_angles_of_the_compiled_code(dtype):
    q, d, v1, v2 = (t.detach().to(dtype) for t in drawn()[:4])
    pair = Pair(v1, v2, q, d)
    scale = (v1 * v2).sqrt()
    tolerance = 5e-5 if dtype == torch.float32 else SAME  # of acute angles near 0, from q alone
    for mine, theirs, unit in zip(native.angles(q, d, v1, v2), (pair.theta, pair.s, bow(pair)), (1, scale, scale), strict=True):
        assert float(((mine - theirs) / unit).abs().max()) < tolerance


def test_parts_broadcast():
    q = torch.tensor([[0.2]], dtype=torch.float64, requires_grad=True)
    v1, v2 = torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([[1.0, 3.0, 4.0]], dtype=torch.float64)
    d = v1 + v2 - 2 * q
    slopes = [
        torch.autograd.grad(f(Pair(v1, v2, q, d), 0.5, 0.3, True)[0].sum(), q, retain_graph=True)[0]
        for f in (expectations, plain)
    ]
    torch.testing.assert_close(*slopes)
