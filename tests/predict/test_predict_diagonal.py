"""What is added to the diagonal: relative and absolute regularisers, noise of each point, jitter; all from one Gram."""

import warnings

import pytest
import scipy.linalg
import torch
from torch.distributions import MultivariateNormal

from torchtangents.predict import Ensemble, GradientFlow, JitterWarning, Posterior, SingularKernelError

pytestmark = pytest.mark.usefixtures("fake_kernels")
NOISE = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)


@pytest.fixture
def matrices(problem):
    p = problem
    return p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train), p.ntk(p.x_test, p.x_test)


def predictors(problem, k, options):
    """Each predictor with its prediction at infinite time on the test points."""
    p = problem
    cross, corner = p.ntk(p.x_test, p.x_train), p.ntk(p.x_test, p.x_test)
    yield Posterior(k, p.y_train, **options).at(cross, corner).mean
    yield GradientFlow(k, p.y_train, **options).at(None, k_test_train=cross).test
    yield GradientFlow(k, p.y_train, **options).at(1e12, k_test_train=cross).test
    yield Ensemble(p.net, p.x_train, p.y_train, kernel="ntkgp", **options).at(None, p.x_test).mean
    yield Ensemble(p.net, p.x_train, p.y_train, kernel="ntk", **options).at(1e12, p.x_test).mean


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ({"diag_reg": 0.1}, lambda k: 0.1 * k.diagonal().mean()),
        ({"diag_reg": 0.1, "diag_reg_absolute_scale": True}, lambda k: 0.1),
        ({"noise": NOISE}, lambda k: NOISE),
        ({"diag_reg": 0.1, "noise": NOISE}, lambda k: 0.1 * k.diagonal().mean() + NOISE),
        ({"diag_reg": torch.tensor(0.1), "diag_reg_absolute_scale": True, "noise": NOISE}, lambda k: 0.1 + NOISE),
    ],
)
def test_every_predictor_solves_the_same_matrix(problem, matrices, options, added):
    k, cross, _ = matrices
    full = k + torch.diag(torch.as_tensor(added(k), dtype=k.dtype).expand(9))
    expected = cross @ torch.linalg.solve(full, problem.y_train)
    for found in predictors(problem, k, options):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kernel", ["ntk", "ntkgp"])
def test_noise_shapes_the_ensembles_law_at_finite_times(problem, matrices, kernel):
    p, (k, cross, corner) = problem, matrices
    s, driving = 4.0 / p.y_train.numel(), k + torch.diag(NOISE)
    mean, covariance = Ensemble(p.net, p.x_train, p.y_train, kernel=kernel, noise=NOISE).at(4.0, p.x_test)
    left = torch.from_numpy(scipy.linalg.expm(-driving.numpy() * s))
    solved, eye = cross @ torch.linalg.inv(driving), torch.eye(9, dtype=torch.float64)
    weights = solved @ (eye - left)
    if kernel == "ntk":
        mixed = weights @ p.nngp(p.x_train, p.x_test)
        expected = p.nngp(p.x_test, p.x_test) + weights @ p.nngp(p.x_train, p.x_train) @ weights.mT - mixed - mixed.mT
    else:
        expected = corner - solved @ (eye - left @ left) @ cross.mT
    torch.testing.assert_close(mean, weights @ p.y_train, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(covariance, expected, rtol=1e-10, atol=1e-10)


def test_evidence_and_leave_one_out_with_noise(problem, matrices):
    k, _, _ = matrices
    y, full = problem.y_train, k + torch.diag(NOISE + 0.2)
    posterior = Posterior(k, y, diag_reg=0.2, diag_reg_absolute_scale=True, noise=NOISE)
    law = MultivariateNormal(torch.zeros(9, dtype=torch.float64), full)
    torch.testing.assert_close(posterior.log_marginal_likelihood(), law.log_prob(y.mT).sum(), rtol=1e-12, atol=1e-12)
    mean, variance = posterior.leave_one_out()
    for i in range(9):
        rest = [j for j in range(9) if j != i]
        weights = torch.linalg.solve(full[rest][:, rest], full[rest, i])
        torch.testing.assert_close(mean[i], weights @ y[rest], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(variance[i], full[i, i] - weights @ full[rest, i], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("absolute", [False, True])
def test_gradients_in_the_regulariser_and_the_noise(problem, matrices, absolute):
    k, cross, corner = matrices
    diag_reg = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def everything(diag_reg, noise):
        options = {"diag_reg": diag_reg, "noise": noise, "diag_reg_absolute_scale": absolute}
        posterior, flow = Posterior(k, problem.y_train, **options), GradientFlow(k, problem.y_train, **options)
        ensemble = Ensemble(problem.net, problem.x_train, problem.y_train, **options)
        return (
            *posterior.at(cross, corner),
            posterior.log_marginal_likelihood(),
            *posterior.leave_one_out(),
            *flow.at(3.0, k_test_train=cross),
            *ensemble.at(3.0, problem.x_test),
        )

    assert torch.autograd.gradcheck(everything, (diag_reg, NOISE.clone().requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_jitter_is_reported_and_small(problem, dtype):
    p = problem.to(dtype)
    x, y = torch.cat([p.x_train, p.x_train]), torch.cat([p.y_train, p.y_train])
    k, cross = p.ntk(x, x), p.ntk(p.x_test, x)
    scale = k.diagonal().mean().item()
    with pytest.warns(JitterWarning, match=r"jitter of .* of its mean diagonal, was added"):
        posterior = Posterior(k, y, jitter=True)
    assert 0 < posterior.jitter_added < 1e3 * 18 * torch.finfo(dtype).eps * scale
    exact = GradientFlow(p.ntk(p.x_train, p.x_train), p.y_train).at(None, k_test_train=p.ntk(p.x_test, p.x_train)).test
    torch.testing.assert_close(posterior.at(cross).mean, exact, rtol=1e-2, atol=1e-2)
    flow = GradientFlow(k, y, jitter=True)
    flow.at(3.0)
    assert flow.jitter_added == 0.0  # finite times need no inverse
    with pytest.warns(JitterWarning):
        flow.at(None)
    assert flow.jitter_added == posterior.jitter_added
    ensemble = Ensemble(p.net, x, y, jitter=True, kernel="ntkgp")
    with pytest.warns(JitterWarning):
        ensemble.at(None, p.x_test)
    assert ensemble.jitter_added == posterior.jitter_added


def test_no_jitter_without_need(problem, matrices):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Posterior(matrices[0], problem.y_train, jitter=True).jitter_added == 0.0


def test_jitter_does_not_hide_a_matrix_that_is_no_kernel():
    wrong, y = torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.ones(2)
    with pytest.raises(SingularKernelError, match=r"indefinite.*smallest eigenvalue is -1 .*diag_reg=10") as error:
        Posterior(wrong, y, jitter=True)
    Posterior(wrong, y, diag_reg=error.value.diag_reg)
    with pytest.raises(SingularKernelError, match="no diag_reg helps"):
        Posterior(torch.zeros(2, 2), y, jitter=True)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"method": "descent"}, {"loss": lambda fx, y: (fx - y).pow(4).sum()}])
def test_an_indefinite_matrix_is_refused_at_any_time(options):
    """Training would run away along an eigenvector of a negative eigenvalue."""
    wrong, y = torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.ones(2)
    with pytest.raises(SingularKernelError, match=r"indefinite.*smallest eigenvalue is -1 .*diag_reg=10") as error:
        GradientFlow(wrong, y, **options).at(1)
    GradientFlow(wrong, y, diag_reg=error.value.diag_reg, learning_rate=1e-2, **options).at(1)
    rounding = torch.diag(torch.tensor([1.0, -1e-6]))
    assert torch.isfinite(GradientFlow(rounding, y, learning_rate=1e-2, **options).at(100).train).all()


def test_the_remedy_is_in_the_scale_asked_for(problem):
    x = torch.cat([problem.x_train, problem.x_train])
    k, y = 1e6 * problem.ntk(x, x), torch.ones(18, dtype=torch.float64)
    with pytest.raises(SingularKernelError) as error:
        Posterior(k, y, diag_reg_absolute_scale=True)
    Posterior(k, y, diag_reg=error.value.diag_reg, diag_reg_absolute_scale=True)
    with pytest.raises(SingularKernelError):
        Posterior(k, y, diag_reg=error.value.diag_reg / 1e9, diag_reg_absolute_scale=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise": NOISE[:3]}, ValueError, r"noise: expected shape \(9,\), got \(3,\).*diag_reg takes a common one"),
        ({"noise": NOISE - 0.5}, ValueError, "noise: expected variances >= 0, got -0.4 at index 0"),
        ({"noise": 0.1}, TypeError, "noise: expected a torch.Tensor, got float"),
        ({"noise": NOISE.float()}, TypeError, "noise is torch.float32"),
        ({"diag_reg": torch.ones(2)}, ValueError, "diag_reg: expected a finite number >= 0"),
        ({"diag_reg": torch.tensor(-1.0)}, ValueError, "diag_reg: expected a finite number >= 0"),
        ({"diag_reg_absolute_scale": 1}, TypeError, "diag_reg_absolute_scale: expected True or False, got 1"),
        ({"jitter": 1e-6}, TypeError, "jitter: expected True or False, got 1e-06"),
    ],
)
def test_refusals(problem, matrices, options, error, message):
    p, k = problem, matrices[0]
    for make in (lambda: Posterior(k, p.y_train, **options), lambda: GradientFlow(k, p.y_train, **options)):
        with pytest.raises(error, match=message):
            make()
    with pytest.raises(error, match=message):
        Ensemble(p.net, p.x_train, p.y_train, **options)
