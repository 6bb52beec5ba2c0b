"""The regression benchmark: its scores, its choice, and both sides on a small part of the data."""

import math

import pytest
import torch
from torch.distributions import Normal

pytest.importorskip("sklearn")
from gpytorch.kernels import RBFKernel

from benchmarks.diabetes import Score, Split, chosen, gpytorch_score, models, our_score, score, split, table


def test_splits_are_standardised_by_the_training_part_and_differ():
    first, again, other = split(0), split(0), split(1)
    assert (first.x.shape, first.x_test.shape) == ((353, 10), (89, 10))
    for part in (first.x, first.y[:, None]):
        torch.testing.assert_close(part.mean(0), torch.zeros_like(part[0]), rtol=0, atol=1e-12)
        torch.testing.assert_close(part.std(0), torch.ones_like(part[0]))
    assert torch.equal(first.y_test, again.y_test)
    assert not torch.equal(first.y_test, other.y_test)


def test_scores_are_those_of_normal_laws():
    mean, variance, y = torch.randn(3, 20).double()[0], torch.rand(20).double() + 0.1, torch.randn(20).double()
    found = score(mean, variance, y, -1.0)
    assert found.log_likelihood == pytest.approx(Normal(mean, variance.sqrt()).log_prob(y).mean().item())
    assert found.rmse == pytest.approx(((y - mean) ** 2).mean().sqrt().item())


def test_the_evidence_chooses_and_the_table_tells():
    scores = {
        "NNGP, a": [Score(-1.0, 0.7, -2.0), Score(-1.2, 0.7, -1.0)],
        "NTK, b": [Score(-3.0, 0.7, -1.5), Score(-9.0, 0.7, -1.5)],
    }
    assert chosen(scores, ("NNGP", "NTK")) == [scores["NTK, b"][0], scores["NNGP, a"][1]]
    assert "| NNGP, a | -1.100 ± 0.100 | 0.700 ± 0.000 | -1.500 ± 0.500 |" in table(scores)


def test_both_sides_fit_better_than_the_constant():
    whole = split(0)
    data = Split(whole.x[:100], whole.y[:100], whole.x_test, whole.y_test)
    constant = score(torch.zeros(89), torch.ones(89), data.y_test, 0.0).log_likelihood
    for found in (gpytorch_score(data, RBFKernel()), our_score(data, "ReLU", 1, "nngp")):
        assert math.isfinite(found.evidence)
        assert found.log_likelihood > constant + 0.1
    assert len(models()) == 16
