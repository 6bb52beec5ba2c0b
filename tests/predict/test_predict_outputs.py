"""Output axes: targets of any shape; kernels that lack all, some or none of them."""

import pytest
import torch

from torchtangents.predict import Ensemble, GradientFlow, Posterior, max_learning_rate


@pytest.fixture
def full():
    """A kernel of 6 points with outputs (2, 3), zipped, between them and 2 more; and the same as one matrix."""
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(8, 2, 3, 60, generator=draw, dtype=torch.float64) / 8
    return torch.einsum("nabp,mcdp->nmacbd", root, root), torch.einsum("nabp,mcdp->nabmcd", root, root).reshape(48, 48)


@pytest.fixture
def targets():
    return torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_all_axes_kept(full, targets):
    k, matrix = full
    train, test = slice(0, 36), slice(36, 48)
    noisy = matrix[train, train] + 0.1 * torch.eye(36, dtype=torch.float64)
    solved = matrix[test, train] @ torch.linalg.inv(noisy)
    mean = (solved @ targets.reshape(-1)).reshape(2, 2, 3)
    covariance = matrix[test, test] - solved @ matrix[train, test]
    posterior = Posterior(k[:6, :6], targets, diag_reg=0.1, diag_reg_absolute_scale=True)
    found = posterior.at(k[6:, :6], k[6:, 6:])
    torch.testing.assert_close(found.mean, mean, rtol=1e-10, atol=1e-10)
    assert found.covariance.shape == (2, 2, 2, 2, 3, 3)
    torch.testing.assert_close(found.covariance.permute(0, 2, 4, 1, 3, 5).reshape(12, 12), covariance, rtol=1e-10, atol=1e-10)
    prior = torch.einsum("nnaabb->nab", k[6:, 6:])
    variances = posterior.at(k[6:, :6], prior).covariance
    torch.testing.assert_close(variances, covariance.diagonal().reshape(2, 2, 3), rtol=1e-10, atol=1e-10)
    draws = posterior.samples(40_000, k[6:, :6], k[6:, 6:], generator=torch.Generator().manual_seed(0))
    spread = torch.einsum("na,nb->ab", *((draws - mean).flatten(1),) * 2) / 40_000
    error = 4 * ((covariance.diagonal()[:, None] * covariance.diagonal() + covariance**2) / 40_000).sqrt()
    assert ((spread - covariance).abs() < error).all()
    flow = GradientFlow(k[:6, :6], targets, diag_reg=0.1, diag_reg_absolute_scale=True)
    torch.testing.assert_close(flow.at(None, k_test_train=k[6:, :6]).test, mean, rtol=1e-10, atol=1e-10)
    law = torch.distributions.MultivariateNormal(torch.zeros(36, dtype=torch.float64), noisy)
    torch.testing.assert_close(posterior.log_marginal_likelihood(), law.log_prob(targets.reshape(-1)))


def test_leave_one_out_leaves_all_outputs_of_a_point_out(full, targets):
    k, matrix = full
    noisy = matrix[:36, :36] + 0.1 * torch.eye(36, dtype=torch.float64)
    mean, variance = Posterior(k[:6, :6], targets, diag_reg=0.1, diag_reg_absolute_scale=True).leave_one_out()
    assert variance.shape == (6, 2, 3)
    for i in range(6):
        own = list(range(6 * i, 6 * i + 6))
        rest = [j for j in range(36) if j not in own]
        weights = torch.linalg.solve(noisy[rest][:, rest], noisy[rest][:, own]).mT
        torch.testing.assert_close(mean[i].reshape(-1), weights @ targets.reshape(-1)[rest], rtol=1e-9, atol=1e-9)
        left = noisy[own][:, own] - weights @ noisy[rest][:, own]
        torch.testing.assert_close(variance[i].reshape(-1), left.diagonal(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy", lambda fx, y: (fx - y).pow(4).mean()])
def test_a_diagonal_kernel_is_the_traced_one(problem, loss):
    """Theta (x) I written out in full, along one output axis or both, changes nothing."""
    p = problem
    k, cross = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)
    y = torch.softmax(torch.randn(9, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64), -1)
    two, three = (torch.eye(n, dtype=torch.float64) for n in (2, 3))
    forms = {
        None: lambda k: k,
        (): lambda k: torch.einsum("nm,ab,cd->nmabcd", k, two, three),
        (1,): lambda k: torch.einsum("nm,cd->nmcd", k, three),
        (-1,): lambda k: torch.einsum("nm,ab->nmab", k, two),
    }
    noise = torch.linspace(0, 1, 9, dtype=torch.float64)
    options = {"loss": loss, "diag_reg": 0.01, "noise": noise}
    expected = GradientFlow(k, y, **options).at(4.0, 0.1, 0.2, cross)
    for axes, form in forms.items():
        found = GradientFlow(form(k), y, trace_axes=axes, **options).at(4.0, 0.1, 0.2, form(cross))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_deep_outputs_are_those_of_flat_ones(problem, fake_kernels):
    p = problem
    k, cross, corner = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train), p.ntk(p.x_test, p.x_test)
    deep = torch.randn(9, 2, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    flat = deep.flatten(1)
    t = torch.tensor([1.0, 5.0])
    pairs = [
        (Posterior(k, deep, diag_reg=0.1).at(cross, corner).mean, Posterior(k, flat, diag_reg=0.1).at(cross, corner).mean),
        (Posterior(k, deep).leave_one_out().mean, Posterior(k, flat).leave_one_out().mean),
        (GradientFlow(k, deep).at(t, k_test_train=cross).test, GradientFlow(k, flat).at(t, k_test_train=cross).test),
        (GradientFlow(k, deep).at(t, deep).train, GradientFlow(k, flat).at(t, flat).train),
    ]
    wide, narrow = (Ensemble(p.net, p.x_train, y, learning_rate=2.0) for y in (deep, flat))
    pairs.append((wide.at(t, p.x_test).mean, narrow.at(t, p.x_test).mean))
    for a, b in pairs:
        assert a.shape[-3:] == (2, 2, 3)
        torch.testing.assert_close(a.flatten(-3), b, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(wide.at(t, p.x_test).covariance, narrow.at(t, p.x_test).covariance)
    targets = torch.zeros(4, 2, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(wide.loss(t, p.x_test, targets), narrow.loss(t, p.x_test, targets.flatten(1)))


def test_max_learning_rate_of_a_kernel_with_output_axes(full):
    k, matrix = full
    largest = torch.linalg.eigvalsh(matrix[:36, :36])[-1].item()
    assert max_learning_rate(k[:6, :6]) == pytest.approx(2 * 36 / largest, rel=1e-10)


@pytest.mark.parametrize("make", [Posterior, GradientFlow])
@pytest.mark.parametrize(
    ("shape", "y_shape", "axes", "message"),
    [
        ((3, 3, 2, 2), (3, 2, 2), None, r"one pair for each output axis; else give trace_axes.*got \(3, 3, 2, 2\)"),
        ((3, 3, 2, 2), (3, 4), None, r"expected shape \(3, 3, 4, 4\) for targets \(3, 4\), got \(3, 3, 2, 2\)"),
        ((3, 3), (3, 4), (), r"expected shape \(3, 3, 4, 4\)"),
        ((3, 3), (3, 4), (0,), r"output axes of y_train, 1 to 1, got \(0,\)"),
        ((3, 3), (3, 4), (1, -1), r"different output axes"),
        ((3, 3), (3, 4), (2,), r"output axes of y_train"),
        ((3, 3, 4, 4, 1), (3, 4, 1), None, "else give trace_axes"),
    ],
)
def test_shapes_that_do_not_fit(make, shape, y_shape, axes, message):
    with pytest.raises(ValueError, match=message):
        make(torch.ones(shape), torch.ones(y_shape), trace_axes=axes)


@pytest.mark.parametrize("make", [Posterior, GradientFlow])
def test_axes_that_are_not_in_pairs(make):
    """(N, N, A, B, A, B) with A = B has a legal shape, but another meaning."""
    root = torch.randn(3, 2, 2, 20, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"axes in pairs \(N, N, A, A, B, B\).*mirror image"):
        make(torch.einsum("nabp,mcdp->nmabcd", root, root), torch.ones(3, 2, 2))


def test_test_kernels_that_do_not_fit(full, targets):
    k, _ = full
    posterior = Posterior(k[:6, :6], targets, diag_reg=0.1)
    with pytest.raises(ValueError, match=r"k_test_train: expected shape \(any, 6, 2, 2, 3, 3\)"):
        posterior.at(k[6:, :6, 0, 0])
    with pytest.raises(ValueError, match=r"k_test_test: expected shape \(2, 2, 2, 2, 3, 3\) or \(2, 2, 3\), got \(2, 2\)"):
        posterior.at(k[6:, :6], torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match="full matrix"):
        posterior.samples(2, k[6:, :6], torch.ones(2, 2, 3, dtype=torch.float64))
