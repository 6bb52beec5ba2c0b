"""Count sketches, tensor sketches, and polynomials of them: means, variances, exact cases."""

import math

import numpy as np
import pytest
import torch

from torchtangents.scale.feature_maps.arccosine import ArcCosine
from torchtangents.scale.feature_maps.chain import Kink
from torchtangents.scale.feature_maps.count_sketch import CountSketch, TensorSketch
from torchtangents.scale.feature_maps.draws import stream
from torchtangents.scale.feature_maps.polynomial import Polynomial, coefficients

LIKE = torch.zeros(0, dtype=torch.float64)
DRAWS = 400


def unit(count, width, seed):
    x = torch.randn(count, width, dtype=torch.float64, generator=stream(seed))
    x[1] = x[0] + 0.3 * x[1]
    return x / x.norm(dim=1, keepdim=True)


def unbiased(found, wanted):
    """Whether the mean of draws (draws, ..) is within 4 standard errors."""
    standard = found.std(0) / len(found) ** 0.5
    return bool(((found.mean(0) - wanted).abs() <= 4 * standard + 1e-12).all()) and bool((standard < 0.1).all())


@pytest.mark.parametrize("width", [1, 9, 16])
def test_count_sketches_no_shorter_than_their_input_are_exact(width):
    x = unit(4, width, 0)
    y = CountSketch(width, 16, stream(1), LIKE)(x)
    torch.testing.assert_close(y @ y.T, x @ x.T, rtol=0, atol=1e-14)


def test_shorter_count_sketches_are_unbiased_and_balanced():
    x = unit(4, 40, 0)
    found = torch.stack([(y := CountSketch(40, 16, stream(s), LIKE)(x)) @ y.T for s in range(DRAWS)])
    assert unbiased(found, x @ x.T)
    met = CountSketch(40, 16, stream(0), LIKE)(torch.eye(40, dtype=torch.float64)).abs().sum(0)
    assert met.sum() == 40
    assert met.max() <= 3


@pytest.mark.parametrize(("p", "q", "size"), [(8, 12, 15), (16, 5, 16), (40, 12, 16)])
def test_tensor_sketches_are_unbiased(p, q, size):
    x, y = unit(3, p, 0), unit(3, q, 1)
    wanted = (x @ x.T) * (y @ y.T)
    found = torch.stack([(z := TensorSketch((p, q), size, stream(s), LIKE)(x, y)) @ z.T for s in range(DRAWS)])
    assert unbiased(found, wanted)
    if max(p, q) <= size:
        bound = (1 + wanted.square()) / (size - 1)
        assert (found.var(0) < 1.3 * bound).all()  # 400 draws
        assert (found.var(0) > 0.2 * bound).all()


@pytest.mark.parametrize("degree", [2, 9, 16])
@pytest.mark.parametrize("slope", [False, True])
def test_polynomials_have_no_negative_coefficients_and_the_errors_that_are_stated(slope, degree):
    angle = (np.arange(2000) + 0.5) * np.pi / 2000
    t, c = np.cos(angle), coefficients(degree, slope)
    exact = 2 / np.pi * np.arcsin(t) if slope else 2 / np.pi * (np.sin(angle) + t * np.arcsin(t))
    error = np.polynomial.polynomial.polyval(t, c) - exact
    assert len(c) == degree + 1
    assert min(c) >= 0
    assert all(v == 0 for v in c[0 if slope else 1 :: 2])
    largest, mean = (
        {2: (0.2, 0.1), 9: (0.06, 0.012), 16: (0.05, 0.009)}[degree]
        if slope
        else {2: (0.01, 0.006), 9: (6e-4, 3e-4), 16: (2e-4, 1e-4)}[degree]
    )
    assert abs(error).max() < largest
    assert np.sqrt((error**2).mean()) < mean


@pytest.mark.parametrize("kink", [Kink(0.0, 1.0, ""), Kink(-1.0, 1.0, ""), Kink(0.4, -1.5, "")])
def test_sketched_polynomials_are_unbiased(kink):
    phi = 3 * unit(3, 6, 0)
    phi[2] *= 2
    degree, size = 5, 64
    t = (phi @ phi.T) / phi.norm(dim=1) / phi.norm(dim=1)[:, None]
    alpha, beta = (kink.a + kink.b) / 2, (kink.b - kink.a) / 2
    powers = [sum(c * t**j for j, c in enumerate(coefficients(degree, slope))) for slope in (False, True)]
    wanted = (alpha**2 * t + beta**2 * powers[0]) * phi.norm(dim=1) * phi.norm(dim=1)[:, None], alpha**2 + beta**2 * powers[1]
    found = ([], [])
    for seed in range(DRAWS):
        both = Polynomial(kink, 6, (48, size), size, degree, stream(seed), LIKE)(phi)
        for out, each in zip(found, both, strict=True):
            out.append(each @ each.T)
    for out, exact in zip(found, wanted, strict=True):
        scale = exact.diagonal().sqrt()
        assert unbiased(torch.stack(out) / scale / scale[:, None], exact / scale / scale[:, None])


def test_pairs_of_directions_beat_independent_ones():
    x = unit(3, 6, 0)
    kink, m = Kink(0.0, 1.0, ""), 32
    pairs, single = [], []
    for seed in range(DRAWS):
        phi, slopes = ArcCosine(kink, 6, (m, 0), stream(seed), LIKE)(x)
        assert slopes is None
        pairs.append(phi @ phi.T)
        alone = (x @ torch.randn(m, 6, generator=stream(seed), dtype=torch.float64).T).relu() / math.sqrt(m)
        single.append(alone @ alone.T)
    pairs, single = torch.stack(pairs), torch.stack(single)
    mean = single.mean(0)
    second = single.var(0) * m + mean.square()  # E X^2
    torch.testing.assert_close(pairs.var(0), (second - 2 * mean.square()) / m, rtol=0.3, atol=0)
    assert (pairs.var(0) < single.var(0)).all()
    slopes = torch.stack([(z := ArcCosine(kink, 6, (m, m), stream(seed), LIKE)(x)[1]) @ z.T for seed in range(DRAWS)])
    same = 1 - 2 * ((x[:, None] - x).norm(dim=-1) / 2).asin() / math.pi  # the probability of one sign
    assert unbiased(slopes, same / 2)
    torch.testing.assert_close(slopes.var(0), same * (1 - same) / (2 * m), rtol=0.3, atol=1e-6)
