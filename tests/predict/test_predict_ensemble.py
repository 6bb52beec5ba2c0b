"""The ensemble's law over training time."""

import pytest
import torch

from torchtangents.predict import Ensemble, SingularKernelError

KINDS = ["ntk", "nngp", "ntkgp"]
pytestmark = pytest.mark.usefixtures("fake_kernels")


def prior(problem, kernel, x):
    return problem.ntk(x, x) if kernel == "ntkgp" else problem.nngp(x, x)


@pytest.mark.parametrize("kernel", KINDS)
def test_time_zero_is_the_prior(problem, kernel):
    ensemble = Ensemble(problem.net, problem.x_train, problem.y_train, kernel=kernel)
    for x in (None, problem.x_test):
        mean, covariance = ensemble.at(0.0, x)
        assert torch.equal(mean, torch.zeros_like(mean))
        expected = prior(problem, kernel, problem.x_train if x is None else x)
        torch.testing.assert_close(covariance, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kernel", KINDS)
@pytest.mark.parametrize("diag_reg", [0.0, 0.1])
def test_infinite_time_is_the_limit(problem, kernel, diag_reg):
    ensemble = Ensemble(problem.net, problem.x_train, problem.y_train, kernel=kernel, diag_reg=diag_reg)
    for x in (None, problem.x_test):
        for late, infinite in zip(ensemble.at(1e9, x), ensemble.at(None, x), strict=True):
            torch.testing.assert_close(late, infinite, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", KINDS)
def test_covariance_is_symmetric_and_positive(problem, kernel):
    ensemble = Ensemble(problem.net, problem.x_train, problem.y_train, kernel=kernel, diag_reg=1e-3)
    for x in (None, problem.x_test, torch.cat([problem.x_test, problem.x_train])):
        covariance = ensemble.at(torch.tensor([0.0, 1.0, 50.0, 1e5]), x).covariance
        assert torch.equal(covariance, covariance.mT)
        assert torch.linalg.eigvalsh(covariance).min() > -1e-12


@pytest.mark.parametrize("kernel", KINDS)
@pytest.mark.parametrize("t", [0.3, 40.0, None])
def test_training_points_agree_with_the_same_points_as_test(problem, kernel, t):
    ensemble = Ensemble(problem.net, problem.x_train, problem.y_train, kernel=kernel)
    for implicit, explicit in zip(ensemble.at(t), ensemble.at(t, problem.x_train), strict=True):
        torch.testing.assert_close(implicit, explicit, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", [0.5, 25.0])
def test_ntkgp_is_its_formula(problem, t):
    p = problem
    tangent, cross, corner = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train), p.ntk(p.x_test, p.x_test)
    eye, rate = torch.eye(9, dtype=torch.float64), t / p.y_train.numel()
    solved = cross @ torch.linalg.inv(tangent)
    expected_mean = solved @ (eye - torch.linalg.matrix_exp(-tangent * rate)) @ p.y_train
    expected = corner - solved @ (eye - torch.linalg.matrix_exp(-2 * tangent * rate)) @ cross.mT
    mean, covariance = Ensemble(p.net, p.x_train, p.y_train, kernel="ntkgp").at(t, p.x_test)
    torch.testing.assert_close(mean, expected_mean, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(covariance, expected, rtol=1e-11, atol=1e-11)


def test_ntk_is_its_formula_and_that_of_a_linear_model(problem):
    """A linear model f = phi w with w ~ N(0, I) has NNGP = NTK = phi phi^T: gradient descent on w, simulated."""
    p, t = problem, 3.0
    draw = torch.Generator().manual_seed(1)
    phi, phi_test = (torch.randn(n, 20, generator=draw, dtype=torch.float64) / 4 for n in (9, 4))

    class Linear(torch.nn.Module):
        calls = 0

        def between(self, a, b):
            return type(p.net.between(p.x_train, p.x_train))(a @ b.mT, a @ b.mT)

    found = Ensemble(Linear(), phi, p.y_train).at(t, phi_test)
    generator = phi.mT @ phi / p.y_train.numel()
    flow = torch.linalg.matrix_exp(-generator * t)  # w(t) = flow w(0) + ...
    torch.testing.assert_close(found.covariance, phi_test @ flow @ flow.mT @ phi_test.mT, rtol=1e-11, atol=1e-11)
    drift = torch.linalg.pinv(generator) @ (torch.eye(20, dtype=torch.float64) - flow) @ phi.mT @ p.y_train
    torch.testing.assert_close(found.mean, phi_test @ drift / p.y_train.numel(), rtol=1e-9, atol=1e-10)


def test_times_lead_the_shapes(problem):
    p = problem
    t = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    ensemble = Ensemble(p.net, p.x_train, p.y_train[:, 0], kernel="ntk")
    mean, covariance = ensemble.at(t, p.x_test)
    assert mean.shape == (2, 3, 4)
    assert covariance.shape == (2, 3, 4, 4)
    one = ensemble.at(4.0, p.x_test)
    torch.testing.assert_close(mean[1, 1], one.mean)
    torch.testing.assert_close(covariance[1, 1], one.covariance)
    assert ensemble.at(t, p.x_test, "diagonal").covariance.shape == (2, 3, 4)
    assert ensemble.at(t, p.x_test, None).covariance is None
    assert ensemble.at(t).mean.shape == (2, 3, 9)
    assert ensemble.at(1.0, p.x_test[:0]).covariance.shape == (0, 0)
    assert ensemble.loss(t).mean.shape == (2, 3)


def test_learning_rate_scales_time(problem):
    p = problem
    fast = Ensemble(p.net, p.x_train, p.y_train, learning_rate=4.0).at(2.0, p.x_test)
    slow = Ensemble(p.net, p.x_train, p.y_train, learning_rate=1.0).at(8.0, p.x_test)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b)


def test_test_kernels_are_kept_until_the_points_change(problem):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train)
    ensemble.at(1.0, p.x_test)
    calls = p.net.calls
    ensemble.at(2.0, p.x_test)
    ensemble.at(3.0, p.x_test, "diagonal")
    ensemble.loss(1.0, p.x_test, p.y_test)
    assert p.net.calls == calls
    before = ensemble.at(2.0, p.x_test).mean
    p.x_test.mul_(0.5)
    assert not torch.allclose(ensemble.at(2.0, p.x_test).mean, before)
    assert p.net.calls == calls + 2
    with torch.inference_mode():
        x = torch.randn(3, 3, dtype=torch.float64)
        assert ensemble.at(1.0, x).mean.shape == (3, 2)


def test_training_data_changed_in_place_do_not_reach_the_ensemble(problem):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train)
    before = ensemble.at(None, p.x_test).mean
    p.x_train.zero_()
    p.y_train.zero_()
    ensemble.at(None).mean.zero_()
    torch.testing.assert_close(ensemble.at(None, p.x_test.clone()).mean, before)


def test_tuples_of_inputs(problem):
    p = problem
    extra = torch.ones(9), torch.ones(4)
    ensemble = Ensemble(p.net, (p.x_train, extra[0]), p.y_train)
    found = ensemble.at(2.0, (p.x_test, extra[1]))
    calls = p.net.calls
    torch.testing.assert_close(ensemble.at(2.0, (p.x_test, extra[1])).mean, found.mean)
    assert p.net.calls == calls
    torch.testing.assert_close(found.mean, Ensemble(p.net, p.x_train, p.y_train).at(2.0, p.x_test).mean)


@pytest.mark.parametrize("kernel", KINDS)
def test_float32(problem, kernel):
    p, q = problem, problem.to(torch.float32)
    exact = Ensemble(p.net, p.x_train, p.y_train, kernel=kernel, diag_reg=1e-3).at(30.0, p.x_test)
    single = Ensemble(q.net, q.x_train, q.y_train, kernel=kernel, diag_reg=1e-3).at(30.0, q.x_test)
    for a, b in zip(single, exact, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", KINDS)
def test_gradients(problem, kernel):
    p = problem

    class Polynomial(torch.nn.Module):
        calls = 0

        def between(self, a, b):
            k = a @ b.mT / 3 + 1
            return type(p.net.between(p.x_train, p.x_train))(k**2, k**3)

    inputs = [part.requires_grad_() for part in (p.x_train, p.y_train, p.x_test)]
    t = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)

    def moments(x, y, x_test, t):
        ensemble = Ensemble(Polynomial(), x, y, kernel=kernel, diag_reg=0.1)
        losses = ensemble.loss(t, x_test, y[:4])
        return *ensemble.at(t, x_test), *ensemble.at(t), *ensemble.at(None, x_test, "diagonal"), *losses

    assert torch.autograd.gradcheck(moments, (*inputs, t))


def test_singular_kernel_at_infinity_only(problem):
    p = problem
    x, y = torch.cat([p.x_train, p.x_train[:2]]), torch.cat([p.y_train, p.y_train[:2]])
    ensemble = Ensemble(p.net, x, y)
    assert torch.isfinite(ensemble.at(1e12, p.x_test).covariance).all()
    for points in (None, p.x_test):
        with pytest.raises(SingularKernelError, match="diag_reg=") as error:
            ensemble.at(None, points)
    Ensemble(p.net, x, y, diag_reg=error.value.diag_reg).at(None, p.x_test)
