"""Gaussian process regression against independent formulas."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from torchtangents.predict import Posterior, SingularKernelError


@pytest.fixture
def matrices(problem):
    p = problem
    return p.nngp(p.x_train, p.x_train), p.nngp(p.x_test, p.x_train), p.nngp(p.x_test, p.x_test)


def noisy(k: torch.Tensor, diag_reg: float) -> torch.Tensor:
    return k + diag_reg * k.diagonal().mean() * torch.eye(len(k), dtype=k.dtype)


@pytest.mark.parametrize("diag_reg", [0.0, 0.05])
def test_conditioning_of_the_joint_gaussian(problem, matrices, diag_reg):
    k, cross, corner = matrices
    solved = cross @ torch.linalg.inv(noisy(k, diag_reg))
    mean, covariance = Posterior(k, problem.y_train, diag_reg=diag_reg).at(cross, corner)
    torch.testing.assert_close(mean, solved @ problem.y_train, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(covariance, corner - solved @ cross.mT, rtol=1e-11, atol=1e-11)
    assert torch.equal(covariance, covariance.mT)


def test_log_marginal_likelihood(problem, matrices):
    k, _, _ = matrices
    law = MultivariateNormal(torch.zeros(9, dtype=torch.float64), noisy(k, 0.05))
    expected = law.log_prob(problem.y_train.mT).sum()
    found = Posterior(k, problem.y_train, diag_reg=0.05).log_marginal_likelihood()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_leave_one_out_by_brute_force(problem, matrices):
    k, _, _ = matrices
    full = noisy(k, 0.05)
    mean, variance = Posterior(k, problem.y_train, diag_reg=0.05).leave_one_out()
    assert mean.shape == (9, 2)
    assert variance.shape == (9,)
    for i in range(9):
        rest = [j for j in range(9) if j != i]
        weights = torch.linalg.solve(full[rest][:, rest], full[rest, i])
        torch.testing.assert_close(mean[i], weights @ problem.y_train[rest], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(variance[i], full[i, i] - weights @ full[rest, i], rtol=1e-10, atol=1e-10)


def test_samples_have_the_posterior_moments(problem, matrices):
    k, cross, corner = matrices
    posterior, n = Posterior(k, problem.y_train, diag_reg=0.05), 50_000
    mean, covariance = posterior.at(cross, corner)
    draws = posterior.samples(n, cross, corner, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (n, 4, 2)
    variance = covariance.diagonal()
    assert ((draws.mean(0) - mean).abs() < 4 * (variance[:, None] / n).sqrt()).all()
    centred = draws - mean
    error = torch.einsum("nio,njo->ij", centred, centred) / (2 * n) - covariance
    assert (error.abs() < 4 * ((variance[:, None] * variance + covariance**2) / (2 * n)).sqrt()).all()
    again = posterior.samples(n, cross, corner, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws, again)
    assert Posterior(k, problem.y_train[:, 0]).samples(3, k, k).shape == (3, 9)


def test_samples_refuse_matrices_of_different_kernels(problem, matrices):
    k, cross, corner = matrices
    with pytest.raises(ValueError, match="one kernel"):
        Posterior(k, problem.y_train).samples(2, 3 * cross, corner)
    with pytest.raises(ValueError, match="full matrix"):
        Posterior(k, problem.y_train).samples(2, cross, corner.diagonal())


def test_gradients(problem, matrices):
    k, cross, corner = matrices
    half, y = (k / 2).requires_grad_(), problem.y_train.requires_grad_()

    def everything(half, y, cross, corner):
        posterior = Posterior(half + half.mT, y, diag_reg=0.05)
        draws = posterior.samples(2, cross, corner + corner.mT, generator=torch.Generator().manual_seed(0))
        return (
            *posterior.at(cross, corner),
            *posterior.leave_one_out(),
            posterior.log_marginal_likelihood(),
            draws.sum(),
        )

    assert torch.autograd.gradcheck(everything, (half, y, cross.requires_grad_(), (corner / 2).requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_singular_kernel_names_a_regulariser_that_works(problem, dtype, scale):
    x = torch.cat([problem.x_train, problem.x_train]).to(dtype)
    k, y = scale * problem.ntk(x, x), torch.ones(18, dtype=dtype)
    with pytest.raises(SingularKernelError, match=r"smallest eigenvalue is .* pass diag_reg=") as error:
        Posterior(k, y)
    assert abs(error.value.smallest_eigenvalue) < 1e-5
    Posterior(k, y, diag_reg=error.value.diag_reg)


def test_indefinite_and_zero_kernels():
    y = torch.ones(2)
    with pytest.raises(SingularKernelError) as error:
        Posterior(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), y, diag_reg=1e-3)
    assert error.value.smallest_eigenvalue == pytest.approx(-1)
    Posterior(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), y, diag_reg=error.value.diag_reg)
    with pytest.raises(SingularKernelError, match="no diag_reg helps"):
        Posterior(torch.zeros(2, 2), y)


def test_a_regularised_float32_kernel_of_low_rank_is_accepted():
    x = torch.randn(1500, 3, generator=torch.Generator().manual_seed(0))
    Posterior(x @ x.mT, x[:, 0], diag_reg=1e-4)
