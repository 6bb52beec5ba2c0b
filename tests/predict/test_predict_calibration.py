"""Temperatures and calibration errors, against brute force and numbers worked by hand."""

import math

import pytest
import torch

from torchtangents.predict import Posterior, expected_calibration_error, temperature

SCORES, LABELS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0, 0, 1])


def drawn(classes, n=200):
    """Scores that know something of the labels."""
    draw = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (n,), generator=draw)
    return torch.nn.functional.one_hot(labels, classes) + torch.randn(n, classes, generator=draw, dtype=torch.float64), labels


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_temperature_is_the_likeliest_with_one_more_sample_of_an_even_label(classes):
    scores, labels = drawn(classes)
    t = torch.tensor(temperature(scores, labels), dtype=torch.float64, requires_grad=True)
    log_p = (scores / t).log_softmax(1)
    loss = -log_p.gather(1, labels[:, None]).sum() - log_p.mean()  # mean over samples and classes: one sample's worth
    (slope,) = torch.autograd.grad(loss / (len(labels) + 1), t)
    assert abs(slope.item()) * t.item() < 1e-6


def test_temperature_of_given_odds():
    # the odds of the first class are 3 + 1/2 to 1 + 1/2, so 1 / T = log(3.5 / 1.5)
    assert temperature(SCORES, LABELS) == pytest.approx(1 / math.log(3.5 / 1.5), rel=1e-6)


def test_temperature_follows_the_scale_of_the_scores_and_ignores_a_shift_of_a_row():
    scores, labels = drawn(4)
    found = temperature(scores, labels)
    assert temperature(1e6 * scores, labels) == pytest.approx(1e6 * found, rel=1e-6)
    assert temperature(scores + torch.randn(len(scores), 1), labels) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("n", [3, 30, 300])
def test_temperature_where_every_label_comes_first_grants_half_a_mistake(n):
    scores, labels = torch.tensor([[1.0, 0.0]]).repeat(n, 1), torch.zeros(n).long()
    p = (scores / temperature(scores, labels)).softmax(1)[0, 1].item()
    assert p == pytest.approx(0.5 / (n + 1), rel=1e-4)


def test_temperature_of_scores_that_know_nothing_is_large_and_finite():
    scores = 3 * torch.eye(3)
    assert 1e2 < temperature(scores, torch.tensor([1, 2, 0])) < math.inf


def test_temperature_of_leave_one_out_scores_is_a_one_liner():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 2, generator=draw, dtype=torch.float64)
    labels = (x[:, 0] > 0).long()
    k = torch.exp(-torch.cdist(x, x).square())
    one_hot = torch.nn.functional.one_hot(labels, 2).double() - 0.5
    found = temperature(Posterior(k, one_hot, diag_reg=1e-2).leave_one_out().mean, labels)
    assert 0 < found < 1


def test_calibration_error_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.4, 0.6]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0])
    # bins (0.5, 0.75]: confidence 0.65, accuracy 1/2; (0.75, 1]: confidence 0.9, accuracy 1/2
    assert expected_calibration_error(p, labels, n_bins=4) == pytest.approx(0.5 * 0.15 + 0.5 * 0.4)
    assert expected_calibration_error(p, labels, n_bins=1) == pytest.approx(0.775 - 0.5)


def test_calibration_error_of_labels_drawn_from_the_probabilities_is_small():
    draw = torch.Generator().manual_seed(0)
    p = torch.randn(20000, 3, generator=draw, dtype=torch.float64).softmax(1)
    labels = torch.multinomial(p, 1, generator=draw)[:, 0]
    # sum_b n_b / N |gap_b|, gaps of standard error below 0.5 / sqrt(n_b): at most 0.5 sqrt(bins / N), times 4
    assert expected_calibration_error(p, labels) < 4 * 0.5 * math.sqrt(15 / 20000)
    assert expected_calibration_error((4 * p.log()).softmax(1), labels) > 0.1


@pytest.mark.parametrize("function", [temperature, expected_calibration_error])
@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        (SCORES.tolist(), LABELS, TypeError, "expected a torch.Tensor"),
        (SCORES[:, 0], LABELS, ValueError, r"shape \(any, any\), got \(4,\)"),
        (SCORES[:, :1], LABELS, ValueError, "two classes"),
        (SCORES[:0], LABELS[:0], ValueError, "at least one sample"),
        (SCORES * float("nan"), LABELS, ValueError, r"nan at index \(0, 0\)"),
        (SCORES, LABELS[:3], ValueError, r"labels: expected shape \(4,\), got \(3,\)"),
        (SCORES, LABELS.float(), TypeError, "labels: expected a tensor of integers"),
        (SCORES, LABELS.tolist(), TypeError, "labels: .*got list"),
        (SCORES, LABELS + 1, ValueError, r"labels: expected integers in 0 .. 1, got 2"),
        (SCORES, -LABELS, ValueError, "got -1"),
    ],
)
def test_refusals(function, scores, labels, error, message):
    with pytest.raises(error, match=message):
        function(scores, labels)


def test_refusals_of_each():
    with pytest.raises(ValueError, match="all equal"):
        temperature(torch.ones(4, 2), LABELS)
    with pytest.raises(ValueError, match="rows >= 0 that sum to 1"):
        expected_calibration_error(2 * SCORES, LABELS)
    for n_bins in (0, 1.5, True):
        with pytest.raises(ValueError, match="n_bins"):
            expected_calibration_error(SCORES, LABELS, n_bins=n_bins)
