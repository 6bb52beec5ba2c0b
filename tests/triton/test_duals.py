"""The ReLU's kernel function in every precision, interpreted, against the closed form in twice the precision."""

import mpmath
import pytest
import torch

pytest.importorskip("triton")
import triton
import triton.language as tl

from torchtangents.triton.duals import relu_core

ANGLES = [0.0, 1e-7, 1e-6, 1e-4, 1e-2, 0.3, 1.0, 1.5, 1.6, 2.5, 3.1, 3.141]
# of covariances, in units of x y; and of half squared distances of close pairs, relative
TOLERANCE = {0: (2e-7, 1e-5), 1: (4e-15, 1e-12), 2: (4e-13, 1e-12)}


PI = tl.constexpr(3.14159265358979323846)


@triton.jit
def evaluate(out, x, y, k, e, n: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr):
    at = tl.arange(0, n)
    value = tl.load(k + at)
    found, slope, distance = relu_core(
        value * 0 + PI, 1.0, tl.load(x + at), tl.load(y + at), value, value * 0 + 1, tl.load(e + at), True, EXACT, WIDE
    )
    tl.store(out + at, found)
    tl.store(out + n + at, slope)
    tl.store(out + 2 * n + at, distance)


def close(angle, ratio):
    """x, y, k and e of two inputs, and what the ReLU makes of them, times 2 pi."""
    x, y, t = mpmath.mpf(1), mpmath.mpf(ratio), mpmath.mpf(angle)
    k = x * y * mpmath.cos(t)
    after = x * y * (mpmath.sin(t) + (mpmath.pi - t) * mpmath.cos(t))
    return x, y, k, (x * x + y * y) / 2 - k, after, mpmath.pi - t, mpmath.pi * (x * x + y * y) / 2 - after


@pytest.mark.parametrize("ratio", [1.0, 1.25])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("wide", [0, 1, 2])
def test_relu(wide, exact, ratio):
    with mpmath.workdps(50):
        rows = [[float(v) for v in close(a, ratio)] for a in ANGLES]
    rows += [[0.0] * 7] * (16 - len(rows))
    x, y, k, e, after, slope, distance = torch.tensor(rows, dtype=torch.float64).T.contiguous()
    dtype = torch.float64 if wide else torch.float32
    out = torch.full((3, 16), float("nan"), dtype=dtype)
    evaluate[(1,)](out, *(v.to(dtype) for v in (x, y, k, e)), n=16, EXACT=exact, WIDE=wide)
    covariances, distances = TOLERANCE[wide]
    n = len(ANGLES)
    assert ((out[0] - after).abs() <= covariances * 4).all()
    acute = slice(0, n - 3) if exact and ratio == 1 else slice(n)  # angles near 0 from distances, and all others
    roots = 1.0 if exact and ratio == 1 else covariances**-0.5  # without a distance an angle is the root of a rounding
    assert ((out[1] - slope)[acute].abs() <= 8 * covariances * roots).all()
    if exact and ratio == 1:
        assert ((out[2] - distance)[1:n].abs() <= distances * distance[1:n]).all()
        assert out[2, 0] == 0
