"""Gradient flow of one network, and the functions of time it is made of."""

import pytest
import torch

from torchtangents.predict import GradientFlow, SingularKernelError, max_learning_rate
from torchtangents.predict.evolve import decay, gain, growth
from torchtangents.predict.gram import Gram


def test_follows_gradient_descent(problem):
    """Ten thousand small steps of gradient descent in function space."""
    p, t, steps = problem, 20.0, 10_000
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    train, test = p.y_train * 0.3, p.y_test * 0.3
    flow = GradientFlow(k, p.y_train).at(t, train, test, cross)
    for _ in range(steps):
        error = (train - p.y_train) * (t / steps / p.y_train.numel())
        train, test = train - k @ error, test - cross @ error
    torch.testing.assert_close(flow.train, train, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(flow.test, test, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", [0.0, 1e-12])
def test_small_times_are_exact(problem, t):
    p = problem
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    flow = GradientFlow(k, p.y_train)
    train, test = flow.at(t, k_test_train=cross)
    torch.testing.assert_close(train, k @ p.y_train * (t / 18), rtol=1e-9, atol=0)
    torch.testing.assert_close(test, cross @ p.y_train * (t / 18), rtol=1e-9, atol=0)


def test_shapes_and_what_is_computed(problem):
    p = problem
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    flow = GradientFlow(k, p.y_train[:, 0], diag_reg=1e-2)
    train, test = flow.at(torch.tensor([1.0, 2.0]), k_test_train=cross)
    assert train.shape == (2, 9)
    assert test.shape == (2, 4)
    assert flow.at(1.0).test is None
    assert flow.at(1.0, None, None, cross).train is None
    torch.testing.assert_close(flow.at(1.0, None, 0.5, cross).test, flow.at(1.0, 0.0, None, cross).test + 0.5)
    late, infinite = (flow.at(t, p.y_train[:, 1], p.y_test[:, 1], cross) for t in (1e10, None))
    torch.testing.assert_close(late.train, infinite.train, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(late.test, infinite.test, rtol=1e-11, atol=1e-11)
    with pytest.raises(ValueError, match="k_test_train"):
        flow.at(1.0, fx_test_0=0.0)
    with pytest.raises(ValueError, match="nothing to compute"):
        flow.at(1.0, None)


def test_rank_deficient_kernel_stays_finite_and_fits_what_it_can():
    """A linear model of 3 parameters on 8 points: finite times need no inverse, the limit is least squares."""
    draw = torch.Generator().manual_seed(0)
    phi, y = (torch.randn(8, columns, generator=draw, dtype=torch.float64) for columns in (3, 1))
    flow = GradientFlow(phi @ phi.mT, y)
    train, test = flow.at(1e14, k_test_train=phi @ phi.mT)
    torch.testing.assert_close(test, phi @ torch.linalg.lstsq(phi, y).solution, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(train, test, rtol=1e-10, atol=1e-10)
    with pytest.raises(SingularKernelError):
        flow.at(None)


@pytest.mark.parametrize("function", [decay, growth, gain])
@pytest.mark.parametrize("case", ["generic", "degenerate", "slow", "fast"])
def test_gradients_of_the_functions_of_time(function, case):
    draw = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64)).Q
    values = {
        "generic": [1, 2, 4, 8],
        "degenerate": [2, 2, 2, 5],
        "slow": [1e-6, 2e-6, 1e-3, 1],
        "fast": [1, 1, 50, 900],
    }
    values = torch.tensor(values[case], dtype=torch.float64)
    half = ((basis * values) @ basis.mT / 2).requires_grad_()
    v = torch.randn(4, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    s = torch.tensor([1e-3, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    inputs = (half, s, v)
    small = case == "slow"

    def evolved(half, s, v):
        return function(Gram(half + half.mT, 0.0), s, v)

    assert torch.autograd.gradcheck(evolved, inputs, eps=1e-8 if small else 1e-6, atol=1e-4 if small else 1e-5)


def test_gradients_stay_finite_for_duplicate_points(problem):
    x = torch.cat([problem.x_train, problem.x_train[:3], problem.x_train[:3]]).requires_grad_()
    k = x @ x.mT + 1
    flow = GradientFlow(k, torch.ones(15, dtype=torch.float64))
    sum(part.square().sum() for part in flow.at(torch.tensor([0.1, 3.0, 1e6]), k_test_train=k)).backward()
    assert torch.isfinite(x.grad).all()


def test_float32_is_solved_in_float64(problem):
    p, q = problem, problem.to(torch.float32)
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    exact = GradientFlow(k.float().double(), q.y_train.double()).at(7.0, k_test_train=cross.float().double())
    single = GradientFlow(k.float(), q.y_train).at(7.0, k_test_train=cross.float())
    for a, b in zip(single, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b.float(), rtol=2e-7, atol=2e-7)


def test_max_learning_rate_is_the_edge_of_stability(problem):
    p = problem
    k = p.ntk(p.x_train, p.x_train)
    rate = max_learning_rate(k, y_train_size=18)
    contraction = torch.eye(9, dtype=torch.float64) - rate / 18 * k
    assert torch.linalg.eigvalsh(contraction).min().item() == pytest.approx(-1, rel=1e-12)
    with pytest.raises(ValueError, match="positive eigenvalue"):
        max_learning_rate(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="momentum"):
        max_learning_rate(k, momentum=1.0)
