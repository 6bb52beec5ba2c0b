"""Nystrom features, landmarks, and GPyTorch's own ways with inducing points."""

import pickle

import gpytorch
import pytest
import torch
from torch.nn import Flatten, ReLU, Sequential

import torchtangents as tt
from torchtangents.scale.feature_maps import FeatureMap, landmarks, nystrom

n = tt.nn
KERNELS = {"ntk": tt.ntk, "nngp": tt.nngp}
NETWORKS = {
    "dense": (lambda: Sequential(n.Linear(3, 8, w_std=1.5), n.Erf(), n.Linear(8, 1)), (3,)),
    "pooled": (lambda: Sequential(n.Conv2d(1, 8, 3), ReLU(), n.GlobalAvgPool(), n.Linear(8, 1)), (1, 5, 5)),
    "flat": (lambda: Sequential(n.Conv2d(1, 8, 3), ReLU(), Flatten(), n.Linear(72, 1)), (1, 5, 5)),
}


def case(name, count=24, dtype=torch.float64):
    make, shape = NETWORKS[name]
    return make(), torch.randn(count, *shape, dtype=dtype, generator=torch.Generator().manual_seed(5)).to(dtype)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_exact_at_landmarks_and_with_all_points(kernel, name):
    model, x = case(name)
    k = KERNELS[kernel](model, x)
    phi = nystrom(model, x[:10], kernel=kernel)
    assert isinstance(phi, FeatureMap)
    found = phi(x) @ phi(x).T
    torch.testing.assert_close(found[:10], k[:10], rtol=1e-8, atol=1e-8)
    assert (found - k).abs().max() > 1e-6
    whole = nystrom(model, x, kernel=kernel)
    assert whole.dim == 24
    torch.testing.assert_close(whole(x) @ whole(x).T, k, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_left_is_semidefinite_and_shrinks(kernel):
    model, x = case("dense")
    k = KERNELS[kernel](model, x)
    before = k
    for count in (1, 4, 9, 16):
        phi = nystrom(model, x[:count], kernel=kernel)
        left = k - phi(x) @ phi(x).T
        for gap in (left, before - left):
            assert torch.linalg.eigvalsh(gap)[0] > -1e-9
        assert left.trace() < before.trace()
        before = left


def test_single_precision_repeated_landmarks_and_pickles():
    model, x = case("pooled", dtype=torch.float32)
    twice = nystrom(model, torch.cat([x[:8], x[:8]]))
    assert twice.dim <= 8
    phi = twice(x)
    assert phi.dtype == torch.float32
    k = tt.ntk(model, x)
    torch.testing.assert_close((phi @ phi.T)[:8], k[:8], rtol=0, atol=1e-3 * k.max().item())
    assert torch.equal(pickle.loads(pickle.dumps(twice))(x), phi)
    model[0].law.w_std = 9.0
    assert torch.equal(twice(x), phi)


def test_kernels_of_finite_networks():
    model = Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()
    x = torch.randn(8, 3, dtype=torch.float64)
    phi = nystrom(model, x, kernel=tt.empirical.ntk)
    wanted = tt.empirical.ntk(model, x, x)
    with torch.no_grad():
        model[0].weight.zero_()
    torch.testing.assert_close(phi(x) @ phi(x).T, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_pivots_are_those_of_linear_operator(kernel, name):
    from linear_operator import to_linear_operator

    model, x = case(name)
    _, pivots = to_linear_operator(KERNELS[kernel](model, x)).pivoted_cholesky(8, error_tol=0.0, return_pivots=True)
    found = landmarks(model, x, 8, kernel=kernel)
    assert found.tolist() == pivots[:8].tolist()


def test_pivots_stop_where_nothing_is_left_and_beat_chance():
    x = torch.randn(3, 2, dtype=torch.float64)
    assert sorted(landmarks(n.Linear(2, 1, b_std=0.0), torch.cat([x, x]), 6).tolist()) in ([0, 1], [0, 2], [1, 2])
    model, _ = case("dense")
    x = torch.randn(60, 3, dtype=torch.float64)
    x[:50] *= 0.01  # most inputs say little

    def left(index):
        phi = nystrom(model, x[index])(x)
        return (tt.ntk(model, x) - phi @ phi.T).trace()

    chance = [left(landmarks(model, x, 10, method="random", generator=torch.Generator().manual_seed(s))) for s in range(5)]
    assert left(landmarks(model, x, 10)) < 0.3 * min(chance)


def test_random_landmarks_follow_their_generator():
    model, x = case("dense")
    first, second = (landmarks(model, x, 9, method="random", generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, second)
    assert len(set(first.tolist())) == 9


def test_what_is_no_landmark_is_refused():
    model, x = case("dense")
    with pytest.raises(ValueError, match="count: expected a number of landmarks from 1 to 24, got 25"):
        landmarks(model, x, 25)
    with pytest.raises(ValueError, match="method: expected one of 'pivoted', 'random'"):
        landmarks(model, x, 2, method="best")
    with pytest.raises(ValueError, match="kernel: expected one of 'ntk', 'nngp'"):
        nystrom(model, x, kernel="rbf")
    with pytest.raises(ValueError, match=r"landmarks: expected a tensor \(M, ..\) of at least one input, got shape \(0, 3\)"):
        nystrom(model, x[:0])
    with pytest.raises(TypeError, match="landmarks"):
        nystrom(model, [1, 2])
    with pytest.raises(ValueError, match="expected finite numbers in landmarks"):
        nystrom(model, x / 0)
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module"):
        nystrom(tt.ntk, x)
    with pytest.raises(ValueError, match="landmarks: expected a kernel that is not zero"):
        nystrom(n.Linear(3, 1, b_std=0.0), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="positions"):
        nystrom(n.Conv2d(1, 8, 3), torch.randn(2, 1, 5, 5))
    with pytest.raises(tt.UnsupportedError, match="1 "):
        nystrom(Sequential(n.Linear(3, 8), torch.nn.Softmax(-1), n.Linear(8, 1)), x)
    with pytest.raises(TypeError, match="one dtype"):
        nystrom(model, x)(x.float())


# GPyTorch


def regression(count=40):
    x = torch.rand(count, 2, dtype=torch.float64) * 2 - 1
    return x, torch.sin(3 * x[:, 0]) + x[:, 1]


def kernel():
    return tt.gp.InfiniteWidthKernel(Sequential(n.Linear(2, 8, w_std=2.0), n.Erf(), n.Linear(8, 1, w_std=2.0)), "ntk")


class Exact(gpytorch.models.ExactGP):
    def __init__(self, x, y, covariance, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), covariance

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class Variational(gpytorch.models.ApproximateGP):
    def __init__(self, z):
        distribution = gpytorch.variational.NaturalVariationalDistribution(len(z))
        strategy = gpytorch.variational.VariationalStrategy(self, z, distribution, learn_inducing_locations=True)
        super().__init__(strategy)
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), kernel()

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def exact_mean(x, y, test):
    k = kernel()
    with torch.no_grad():
        return tt.predict.Posterior(k(x).to_dense(), y, diag_reg=0.1, diag_reg_absolute_scale=True).at(k(test, x).to_dense()).mean


def test_inducing_point_kernel():
    (x, y), (test, _) = regression(), regression(5)
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    sparse = gpytorch.kernels.InducingPointKernel(kernel(), x.clone(), likelihood)
    model = Exact(x, y, sparse, likelihood).double()
    likelihood.noise = 0.1
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(test).mean, exact_mean(x, y, test), rtol=0, atol=1e-3)  # all points induce
    few = Exact(x, y, gpytorch.kernels.InducingPointKernel(kernel(), x[:5].clone(), likelihood), likelihood).double()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, few)
    few.train()
    optimizer, losses = torch.optim.Adam(few.parameters(), lr=0.05), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = -objective(few(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    assert not torch.equal(few.covar_module.inducing_points, x[:5])


def test_stochastic_variational_models():
    (x, y), (test, _) = regression(), regression(5)
    likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
    likelihood.noise = 0.1
    model = Variational(x.clone()).double()
    objective = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=len(x))
    natural = gpytorch.optim.NGD(model.variational_parameters(), num_data=len(x), lr=0.5)
    losses = []
    for _ in range(25):
        natural.zero_grad()
        loss = -objective(model(x), y)
        loss.backward()
        natural.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(test).mean, exact_mean(x, y, test), rtol=0, atol=1e-2)  # conjugate: NGD finds it
    assert all(p.grad is not None for p in model.covar_module.parameters())
    assert model.variational_strategy.inducing_points.grad is not None
