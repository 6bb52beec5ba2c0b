"""Predictions as distributions of GPyTorch, and ensembles as models of GPyTorch and BoTorch."""

import gpytorch
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement, UpperConfidenceBound, qLogExpectedImprovement
from botorch.optim import optimize_acqf
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from torch.distributions import MultivariateNormal as Plain
from torch.nn import Sequential

import torchtangents as tt

n = tt.nn
TIMES = [0.0, 3.0, 1e4, None]


def ensemble(outputs=None, kernel="ntk", dtype=torch.float64, inputs=2):
    net = Sequential(n.Linear(inputs, 8, w_std=1.4), n.ReLU(), n.Linear(8, 1, w_std=1.4))
    x = torch.randn(6, inputs, dtype=dtype)
    y = torch.randn(6, *(() if outputs is None else (outputs,)), dtype=dtype)
    return tt.predict.Ensemble(net, x, y, kernel=kernel, diag_reg=1e-4)


def points(*shape, dtype=torch.float64):
    return torch.randn(*shape, 2, dtype=dtype)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("t", [*TIMES, torch.tensor([1.0, 5.0]), torch.ones(2, 3)])
def test_has_the_moments_of_the_prediction(t, outputs, covariance):
    prediction = ensemble(outputs).at(t, points(4), covariance)
    law = prediction.to_gpytorch()
    assert type(law) is (MultivariateNormal if outputs is None else MultitaskMultivariateNormal)
    assert law.mean.shape == law.variance.shape == prediction.mean.shape
    assert torch.equal(law.mean, prediction.mean)
    variance = prediction.covariance if covariance == "diagonal" else prediction.covariance.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(law.variance, (variance if outputs is None else variance[..., None]).expand_as(law.mean))
    lower, upper = law.confidence_region()
    torch.testing.assert_close(upper - lower, 4 * law.stddev)
    assert law.rsample(torch.Size([5])).shape == (5, *prediction.mean.shape)


@pytest.mark.parametrize("outputs", [None, 2])
def test_density_is_that_of_independent_outputs(outputs):
    mean, covariance = prediction = ensemble(outputs).at(3.0, points(4))
    y = torch.randn_like(mean)
    columns = zip(mean.reshape(4, -1).T, y.reshape(4, -1).T, strict=True)
    want = sum(Plain(m, covariance).log_prob(v) for m, v in columns)
    torch.testing.assert_close(prediction.to_gpytorch().log_prob(y), want)


def test_draws_have_the_moments():
    prediction = ensemble(2).at(3.0, points(3))
    draws = prediction.to_gpytorch().rsample(torch.Size([20_000]))  # (S, 3, 2)
    torch.testing.assert_close(draws.mean(0), prediction.mean, rtol=0, atol=4 * 1.5 / 20_000**0.5)
    joint = torch.cov(draws.reshape(-1, 6).T).reshape(3, 2, 3, 2)
    want = torch.einsum("ij,ab->iajb", prediction.covariance, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(joint, want, rtol=0, atol=4 * 2 * float(want.max()) / 20_000**0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("where", ["train", "duplicates", "itself"])
def test_singular_covariances(where, t, outputs, dtype):
    law = ensemble(outputs, dtype=dtype)
    x = {"train": law.kernels.x_train, "duplicates": points(1, dtype=dtype).expand(20, 2).clone() * 30, "itself": None}[where]
    prediction = law.at(t, x)
    made = prediction.to_gpytorch()
    draws = made.rsample(torch.Size([3]))
    scale = prediction.covariance.diagonal().abs().max().sqrt().clamp(min=1e-6)
    assert torch.isfinite(draws).all()
    assert torch.isfinite(made.log_prob(made.mean))
    added = (
        made.lazy_covariance_matrix.to_dense().diagonal() - prediction.covariance.diagonal().repeat_interleave(outputs or 1)
    ).max()
    assert 0 <= added <= max(1e-4 * scale**2, 100 * torch.finfo(dtype).eps)  # variances are of order 1, and their rounding
    assert ((draws - made.mean).abs() <= 6 * (scale + added.sqrt())).all()


def test_shapes_that_do_not_tell():
    square = torch.eye(3)
    prediction = tt.predict.Prediction(torch.zeros(3, 3), square)
    with pytest.raises(ValueError, match="expected diagonal=True or False"):
        prediction.to_gpytorch()
    assert type(prediction.to_gpytorch(diagonal=False)) is MultitaskMultivariateNormal
    assert type(prediction.to_gpytorch(diagonal=True)) is MultivariateNormal


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (torch.zeros(3), None, "got covariance=None; ask for covariance='full'"),
        (torch.zeros(3), torch.eye(4), r"expected a covariance .* \(3,\), got \(4, 4\)"),
    ],
)
def test_refused_predictions(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        tt.predict.Prediction(mean, covariance).to_gpytorch()


# The model


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("outputs", [None, 1, 3])
@pytest.mark.parametrize("kernel", ["ntk", "nngp"])
def test_model_is_the_ensemble_at_its_time(kernel, outputs, t):
    law, x = ensemble(outputs, kernel), points(4)
    model = tt.gp.EnsembleModel(law, t)
    mean, covariance = law.at(t, x)
    torch.testing.assert_close(model(x).mean.reshape(mean.shape), mean)
    posterior = model.posterior(x)
    assert isinstance(posterior, GPyTorchPosterior)
    assert posterior.mean.shape == (4, model.num_outputs) == (4, outputs or 1)
    torch.testing.assert_close(posterior.mean, mean.reshape(4, -1))
    torch.testing.assert_close(posterior.variance, covariance.diagonal()[:, None].expand(4, outputs or 1), rtol=1e-6, atol=1e-9)
    assert model.batch_shape == ()


@pytest.mark.parametrize("shape", [(3, 1), (3, 2), (2, 3, 2), (2, 200), (2, 300)])
@pytest.mark.parametrize("outputs", [None, 2])
def test_batches_are_the_single_ones(shape, outputs):
    model, x = tt.gp.EnsembleModel(ensemble(outputs), 5.0), points(*shape)
    batched = model(x)
    for i in range(len(x)):
        single = model(x[i])
        torch.testing.assert_close(batched.mean[i], single.mean)
        torch.testing.assert_close(batched.covariance_matrix[i], single.covariance_matrix)


def test_time_is_changed():
    model, x = tt.gp.EnsembleModel(ensemble(), 1.0), points(3)
    late = model.at(100.0)
    assert (model.t, late.t) == (1.0, 100.0)
    assert not torch.allclose(late(x).mean, model(x).mean)
    model.t = 100.0
    assert torch.equal(late(x).mean, model(x).mean)


def test_images_are_restored():
    net = Sequential(n.Conv2d(1, 4, 3), n.ReLU(), n.GlobalAvgPool(), n.Linear(4, 1))
    x = torch.randn(5, 1, 4, 4)
    law = tt.predict.Ensemble(net, x, torch.randn(5))
    model = tt.gp.EnsembleModel(law, 2.0, input_shape=(1, 4, 4))
    torch.testing.assert_close(model(x.flatten(1)).mean, law.at(2.0, x).mean)
    with pytest.raises(ValueError, match=r"16 columns.*got 15"):
        model(torch.randn(2, 15))


@pytest.mark.parametrize("q", [1, 2])
def test_gradients_flow_to_inputs(q):
    model = tt.gp.EnsembleModel(ensemble(2), 5.0)

    def moments(x):
        law = model(x)
        return law.mean, law.variance

    assert torch.autograd.gradcheck(moments, points(2, q).requires_grad_())


@pytest.mark.parametrize("t", [0.0, 5.0, None])
def test_acquisition_functions_find_better_points(t):
    model = tt.gp.EnsembleModel(ensemble(), t)
    bounds = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    for acquisition, q in [
        (LogExpectedImprovement(model, 0.5), 1),
        (UpperConfidenceBound(model, 2.0), 1),
        (qLogExpectedImprovement(model, 0.5), 2),
    ]:
        best, value = optimize_acqf(acquisition, bounds, q=q, num_restarts=2, raw_samples=8, options={"maxiter": 5})
        assert best.shape == (q, 2)
        drawn = acquisition(torch.rand(20, q, 2, dtype=torch.float64) * 2 - 1)
        assert value >= drawn.median()


def test_chosen_outputs():
    model, x = tt.gp.EnsembleModel(ensemble(3), 5.0), points(4)
    assert torch.equal(model.posterior(x, output_indices=[2, 0]).mean, model.posterior(x).mean[:, [2, 0]])
    assert torch.equal(model.posterior(x, output_indices=[1]).mean, model.posterior(x).mean[:, [1]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: tt.gp.EnsembleModel("net"), TypeError, "expected a torchtangents.predict.Ensemble, got str"),
        (lambda: tt.gp.EnsembleModel(ensemble(), -1.0), ValueError, "expected finite training times"),
        (lambda: tt.gp.EnsembleModel(ensemble(), torch.ones(2)), ValueError, "expected one training time"),
        (lambda: tt.gp.EnsembleModel(ensemble())(torch.ones(2)), ValueError, r"expected inputs \(\*batch, M, D\), got \(2,\)"),
        (lambda: tt.gp.EnsembleModel(ensemble()).posterior(points(2), observation_noise=True), ValueError, "without noise"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_is_a_model_of_gpytorch():
    model = tt.gp.EnsembleModel(ensemble(), 1.0)
    assert isinstance(model.eval(), gpytorch.models.GP)
    assert not list(model.parameters())
