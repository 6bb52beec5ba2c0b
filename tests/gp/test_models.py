"""The kernel in models: exact and variational GPyTorch, its iterative mode, and BoTorch's optimisation loop."""

import importlib.util
import warnings
from pathlib import Path

import gpytorch
import pytest
import torch
from gpytorch.kernels import ScaleKernel
from torch.nn import Sequential

import torchtangents as tt

n = tt.nn


def net():
    return Sequential(n.Linear(2, 8, w_std=1.3), n.Erf(c=0.1), n.Linear(8, 1, w_std=1.3))


def data(count, dtype=torch.float64):
    x = torch.rand(count, 2, dtype=dtype) * 2 - 1
    return x, torch.sin(3 * x[:, 0]) + x[:, 1] + 0.05 * torch.randn(count, dtype=dtype)


class Exact(gpytorch.models.ExactGP):
    def __init__(self, x, y, kernel):
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), kernel

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def fit(model, objective, steps, rate=0.1):
    """The loss at each step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_fitting_raises_the_marginal_likelihood(kind):
    x, y = data(25)
    model = Exact(x, y, ScaleKernel(tt.gp.InfiniteWidthKernel(net(), kind, tied=False))).double()
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    before = {name: p.detach().clone() for name, p in model.covar_module.base_kernel.named_parameters()}
    losses = fit(model, lambda: -mll(model(x), y), 40)
    assert losses[-1] < losses[0] - 0.1
    for name, p in model.covar_module.base_kernel.named_parameters():
        assert not torch.equal(p, before[name]), name
    x_test, y_test = data(30)
    with torch.no_grad():
        error = (model.eval()(x_test).mean - y_test).square().mean()
    assert error < 0.5 * y_test.var()


def test_predicts_as_the_posterior_of_the_package():
    x, y = data(12)
    model = Exact(x, y, tt.gp.InfiniteWidthKernel(net())).double()
    model.covar_module.initialize(w_std=1.3, b_std=0.1)
    model.likelihood.noise = 0.01
    x_test = data(5)[0]
    with torch.no_grad():
        law = model.eval()(x_test)
        kernel = tt.nngp(net(), x)
        noise = 0.01 / kernel.diagonal().mean()
        posterior = tt.predict.Posterior(kernel, y, diag_reg=float(noise))
        want = posterior.at(tt.nngp(net(), x_test, x), tt.nngp(net(), x_test))
    torch.testing.assert_close(law.mean, want.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(law.covariance_matrix, want.covariance, rtol=1e-5, atol=1e-8)


def test_iterative_mode_agrees_with_cholesky():
    x, y = data(60)
    x_test = data(7)[0]
    model = Exact(x, y, tt.gp.InfiniteWidthKernel(net())).double()
    model.likelihood.noise = 0.05
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)

    def results():
        model.train()
        model.zero_grad()
        mll(model(x), y).backward()
        slopes = torch.stack([p.grad.reshape(()) for p in model.covar_module.parameters()])
        with torch.no_grad():
            law = model.eval()(x_test)
            return slopes, law.mean, law.variance

    exact = results()
    s = gpytorch.settings
    with s.max_cholesky_size(0), s.cg_tolerance(1e-4), s.eval_cg_tolerance(1e-6), s.fast_pred_var(), s.num_trace_samples(200):
        iterative = results()
    torch.testing.assert_close(iterative[0], exact[0], rtol=0.1, atol=0.02)  # its trace is a Monte Carlo estimate
    torch.testing.assert_close(iterative[1], exact[1], rtol=0, atol=1e-3)
    torch.testing.assert_close(iterative[2], exact[2], rtol=0, atol=1e-2)


class Variational(gpytorch.models.ApproximateGP):
    def __init__(self, inducing):
        law = gpytorch.variational.CholeskyVariationalDistribution(len(inducing))
        super().__init__(gpytorch.variational.VariationalStrategy(self, inducing, law, learn_inducing_locations=True))
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), tt.gp.InfiniteWidthKernel(net())

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def test_variational_with_learned_inducing_points():
    x, y = data(40)
    model, likelihood = Variational(x[:6].clone()).double(), gpytorch.likelihoods.GaussianLikelihood().double()
    elbo = gpytorch.mlls.VariationalELBO(likelihood, model, len(y))
    inducing = model.variational_strategy.inducing_points.detach().clone()
    losses = fit(model, lambda: -elbo(model(x), y), 25)
    assert losses[-1] < losses[0] - 0.1
    assert not torch.equal(model.variational_strategy.inducing_points, inducing)
    assert model.covar_module.raw_w_std.grad.abs() > 0


@pytest.mark.slow
def test_a_loop_of_bayesian_optimisation():
    path = Path(__file__).parents[2] / "examples" / "bayesian_optimisation.py"
    spec = importlib.util.spec_from_file_location("bayesian_optimisation", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # steps are cut short
        best = example.optimise(rounds=4, start=6, restarts=2, raw_samples=16, steps=8)
    assert best.shape == (5,)
    assert (best.diff() <= 0).all()
    assert best[-1] < 0.7 * best[0]
