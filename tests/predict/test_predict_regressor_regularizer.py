"""The regulariser and the amplitude that the data choose, against a search over `Posterior`."""

import pytest
import torch
from scipy.optimize import minimize

from torchtangents.predict import Posterior, SingularKernelError
from torchtangents.predict.gram import Gram
from torchtangents.predict.regularizer import best_amplitude, best_diag_reg


def problem(outputs, noise=0.3, n=30, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=draw, dtype=torch.float64)
    k = 3 * torch.exp(-torch.cdist(x, x).square() / 4)
    y = torch.sin(2 * x[:, :1]) * torch.arange(1, outputs + 1) + noise * torch.randn(
        n, outputs, generator=draw, dtype=torch.float64
    )
    return k.to(dtype), (y if outputs > 1 else y[:, 0]).to(dtype)


def score(k, y, criterion, diag_reg, amplitude):
    """Of `Posterior`, with the amplitude in the kernel."""
    posterior = Posterior(amplitude * k, y, diag_reg=diag_reg)
    if criterion == "evidence":
        return posterior.log_marginal_likelihood()
    mean, variance = posterior.leave_one_out()
    scale = variance.sqrt() if y.ndim == 1 else variance.sqrt()[:, None]
    return torch.distributions.Normal(mean, scale).log_prob(y).sum()


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("criterion", ["evidence", "loo"])
def test_is_where_the_likelihood_is_largest(criterion, outputs):
    k, y = problem(outputs)
    chosen = best_diag_reg(k, y, criterion)
    found = minimize(
        lambda z: -score(k, y, criterion, 10 ** z[0], 10 ** z[1]).item(), [-1.0, 0.0], method="Nelder-Mead", tol=1e-8
    )
    assert chosen == pytest.approx(10 ** found.x[0], rel=1e-3)
    if criterion == "evidence":
        amplitude = best_amplitude(Gram(k, chosen), y.reshape(len(y), -1))
        assert amplitude == pytest.approx(10 ** found.x[1], rel=1e-3)


@pytest.mark.parametrize("criterion", ["evidence", "loo"])
def test_does_not_depend_on_scales(criterion):
    k, y = problem(2)
    chosen = best_diag_reg(k, y, criterion)
    assert best_diag_reg(1e6 * k, 1e-3 * y, criterion) == pytest.approx(chosen, rel=1e-4)


@pytest.mark.parametrize("criterion", ["evidence", "loo"])
def test_grows_with_the_noise(criterion):
    chosen = [best_diag_reg(*problem(1, noise), criterion) for noise in (0.01, 0.1, 1.0)]
    assert chosen[0] < chosen[1] < chosen[2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("criterion", ["evidence", "loo"])
def test_leaves_a_kernel_that_can_be_inverted(criterion, dtype):
    k, y = problem(1, noise=0.0, dtype=dtype)  # noise-free and very smooth: the least regulariser is the best
    k, y = k.repeat(2, 2), y.repeat(2)  # and singular
    assert Gram(k, best_diag_reg(k, y, criterion)).cholesky.isfinite().all()


def test_targets_of_zero_are_all_noise():
    k, y = problem(1)
    assert best_diag_reg(k, 0 * y) == 1e3
    assert best_amplitude(Gram(k, 1.0), 0 * y[:, None]) == 1.0


def test_refusals():
    k, y = problem(1)
    with pytest.raises(ValueError, match="criterion: expected one of 'evidence', 'loo', got 'aic'"):
        best_diag_reg(k, y, "aic")
    with pytest.raises(SingularKernelError):
        best_diag_reg(0 * k, y)
    with pytest.raises(ValueError, match="y_train: expected shape"):
        best_diag_reg(k, y[:3])
