"""Marginal likelihood and leave-one-out against GPyTorch, torch's distributions and refitting."""

import gpytorch
import pytest
import torch
from torch.distributions import Normal

import torchtangents as tt
from torchtangents.predict import SingularKernelError, leave_one_out_log_density, log_marginal_likelihood
from torchtangents.predict.evidence import best_scale, log_density

DTYPE = torch.float64
NET = torch.nn.Sequential(tt.nn.Linear(3, 8, w_std=1.4), torch.nn.ReLU(), tt.nn.Linear(8, 1, w_std=1.4))


@pytest.fixture
def data():
    x = torch.randn(12, 3, dtype=DTYPE)
    return tt.nngp(NET, x), torch.randn(12, 2, dtype=DTYPE)


class Given(gpytorch.kernels.Kernel):
    """The kernel of a matrix, whose inputs are row numbers (N, 1)."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = matrix

    def forward(self, x1, x2, diag=False, **_):
        k = self.matrix[x1[:, 0].long()][:, x2[:, 0].long()]
        return k.diagonal() if diag else k


class Process(gpytorch.models.ExactGP):
    def __init__(self, x, y, matrix, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), Given(matrix)

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def by_gpytorch(k, y, diag_reg, objective):
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = diag_reg * k.diagonal().mean()  # a tensor: a number would be rounded to float32
    model = Process(torch.arange(float(len(k)), dtype=DTYPE)[:, None], y, k, likelihood).train()
    with gpytorch.settings.fast_computations(False, False, False), gpytorch.settings.cholesky_jitter(double_value=0.0):
        return len(y) * objective(likelihood, model)(model(*model.train_inputs), y)


@pytest.mark.parametrize("diag_reg", [1e-2, 0.5])
def test_equals_gpytorch_on_the_same_matrix(data, diag_reg):
    k, y = data
    for ours, theirs in (
        (log_marginal_likelihood, gpytorch.mlls.ExactMarginalLogLikelihood),
        (leave_one_out_log_density, gpytorch.mlls.LeaveOneOutPseudoLikelihood),
    ):
        expected = sum(by_gpytorch(k, y[:, i], diag_reg, theirs) for i in range(2))
        torch.testing.assert_close(ours(k, y, diag_reg), expected, rtol=1e-10, atol=1e-10)


def test_leave_one_out_by_refitting(data):
    k, y = data
    ridge = 0.1 * k.diagonal().mean() * torch.eye(12, dtype=DTYPE)
    q, total = k + ridge, 0.0
    for i in range(12):
        rest = [j for j in range(12) if j != i]
        weights = torch.linalg.solve(q[rest][:, rest], q[rest, i])
        total += Normal(weights @ y[rest], (q[i, i] - weights @ q[rest, i]).sqrt()).log_prob(y[i]).sum()
    torch.testing.assert_close(leave_one_out_log_density(k, y, 0.1), total, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        leave_one_out_log_density(k, y[:, 0], 0.1) + leave_one_out_log_density(k, y[:, 1], 0.1), total, rtol=1e-10, atol=1e-10
    )


def test_gradients(data):
    k, y = data
    reg = torch.tensor(0.1, dtype=DTYPE, requires_grad=True)
    for objective in ("evidence", "leave_one_out"):
        inputs = ((k / 2).requires_grad_(), y.requires_grad_(), reg)
        assert torch.autograd.gradcheck(lambda h, y, r: log_density(h + h.mT, y, r, objective), inputs)
        assert torch.autograd.gradcheck(lambda h, y, r: best_scale(h + h.mT, y, r, objective), inputs)


@pytest.mark.parametrize("objective", ["evidence", "leave_one_out"])
def test_the_best_scale_is_a_maximum(data, objective):
    k, y = data
    density, c = best_scale(k, y, 0.1, objective)
    torch.testing.assert_close(log_density(c * k, y, 0.1, objective), density, rtol=1e-12, atol=1e-12)
    for factor in (0.9, 1.1):
        assert log_density(factor * c * k, y, 0.1, objective) < density - 1e-3


def test_refusals(data):
    k, y = data
    with pytest.raises(ValueError, match="got zeros"):
        best_scale(k, 0 * y, 0.1, "evidence")
    twice = k.repeat(2, 2)
    for function in (log_marginal_likelihood, leave_one_out_log_density):
        with pytest.raises(SingularKernelError, match="pass diag_reg="):
            function(twice, y.repeat(2, 1))
        with pytest.raises(ValueError, match="diag_reg"):
            function(k, y, -1.0)
        with pytest.raises(TypeError, match=r"float32"):
            function(k, y.float())
    assert leave_one_out_log_density(k.float(), y.float(), 0.1).dtype == torch.float32
