"""Heavy-ball flow on the squared error in closed form, against the solver and limits."""

import numpy as np
import pytest
import scipy.linalg
import torch

from torchtangents.predict import GradientFlow
from torchtangents.predict.evolve import evolve
from torchtangents.predict.gram import Gram
from torchtangents.predict.swing import SwingGain, SwingVelocity, TimesEigenvalue


def by_matrix_exponential(a: float, friction: float, size: int, u: float) -> tuple[float, float]:
    """(1 - p, -p') of p'' + friction p' + a / size p = 0, from p = 1 at rest."""
    p = scipy.linalg.expm(u * np.array([[0.0, 1.0], [-a / size, -friction]]))[:, 0]
    return 1 - p[0], -p[1]


@pytest.mark.parametrize("a", [1e-9, 1e-3, 0.3, 0.99999, 1.0, 1.00001, 4.0, 300.0])
@pytest.mark.parametrize("u", [0.0, 1e-3, 0.04, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("friction", [0.1, 2 / 3**0.5])
def test_modes(a, u, friction):
    """friction^2 / 4 = a / 3 at a = 1 is the double root."""
    expected = by_matrix_exponential(a, friction, 3, u)
    a, u = torch.tensor([a], dtype=torch.float64), torch.tensor([[u]], dtype=torch.float64)
    for kind, value in zip((SwingGain, SwingVelocity), expected, strict=True):
        found = TimesEigenvalue(kind(friction, 3)).value(a, u).item()
        assert found == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_small_modes_and_times_keep_their_digits():
    """Leading terms: G = u^2 / 2n early, and (u - (1 - e^{-friction u}) / friction) / (friction n) for a -> 0."""
    one = torch.ones(1, dtype=torch.float64)
    early = SwingGain(0.5, 4).value(one, 1e-5 * one[:, None]).item()
    assert early == pytest.approx(1e-10 / 8, rel=1e-5)
    flat = SwingGain(0.5, 4).value(1e-14 * one, 7 * one[:, None]).item()
    assert flat == pytest.approx((7 - (1 - 2.718281828459045**-3.5) / 0.5) / 2, rel=1e-12)


@pytest.mark.parametrize("momentum", [0.2, 0.9])
def test_agrees_with_the_solver(problem, momentum):
    p = problem
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    t = torch.tensor([30.0, 0.0, 2.0], dtype=torch.float64)
    options = {"learning_rate": 0.4, "momentum": momentum, "diag_reg": 0.01}
    closed = GradientFlow(k, p.y_train, **options).at(t, 0.3, p.y_test, cross)
    loss = GradientFlow(k, p.y_train, loss=lambda fx, y: 0.5 * (fx - y).square().mean(), rtol=1e-9, **options)
    for a, b in zip(closed, loss.at(t, 0.3, p.y_test, cross), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_late_times_reach_the_limit(problem):
    p = problem
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    flow = GradientFlow(k, p.y_train, momentum=0.9)
    for late, limit in zip(flow.at(1e9, k_test_train=cross), flow.at(None, k_test_train=cross), strict=True):
        torch.testing.assert_close(late, limit, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("times_a", [False, True])
@pytest.mark.parametrize("kind", [SwingGain, SwingVelocity])
@pytest.mark.parametrize("values", [[1, 2, 4, 8], [2, 2, 2, 5], [0.5, 0.5, 0.501, 0.6], [0.01, 3, 50, 200]])
def test_gradients(kind, values, times_a):
    draw = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64)).Q
    half = ((basis * torch.tensor(values, dtype=torch.float64)) @ basis.mT / 2).requires_grad_()
    v = torch.randn(4, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    s = torch.tensor([1e-2, 0.4, 2.0, 12.0], dtype=torch.float64, requires_grad=True)
    function = kind(1.0, 2)  # the double root is at a = 0.5

    def evolved(half, s, v):
        return evolve(TimesEigenvalue(function) if times_a else function, Gram(half + half.mT), s, v)

    assert torch.autograd.gradcheck(evolved, (half, s, v), atol=1e-5)
