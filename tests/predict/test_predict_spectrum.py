"""Eigenvalues, effective dimension and alignment against their definitions."""

import math

import pytest
import torch

import torchtangents as tt
from tests.tolerances import SAME
from torchtangents.predict import SingularKernelError, alignment, effective_dimension, spectrum

DTYPE = torch.float64


def gram(n: int = 7, rank: int = 9) -> torch.Tensor:
    x = torch.randn(n, rank, dtype=DTYPE, generator=torch.Generator().manual_seed(1))
    return x @ x.mT


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=10 * SAME, atol=10 * SAME)


def test_spectrum_is_descending_and_that_of_the_matrix():
    k = gram()
    values = spectrum(k)
    assert (values.diff() <= 0).all()
    same(values, torch.linalg.svdvals(k))
    q = torch.linalg.qr(gram())[0]
    known = torch.tensor([5.0, 3, 2, 1, 0.5, 0.1, 0.01], dtype=DTYPE)
    same(spectrum(q @ known.diag() @ q.mT), known)


@pytest.mark.parametrize("diag_reg", [1e-6, 0.1, 1e6])
def test_effective_dimension_counts_eigenvalues(diag_reg):
    k = gram()
    values, ridge = spectrum(k), diag_reg * k.diagonal().mean()
    same(effective_dimension(k, diag_reg), (values / (values + ridge)).sum())


def test_effective_dimension_of_the_limits():
    k = gram()
    same(effective_dimension(k, 0.0), torch.tensor(7.0, dtype=DTYPE))
    low = gram(rank=3)
    assert effective_dimension(low, 1e-9).item() == pytest.approx(3, abs=1e-6)
    with pytest.raises(SingularKernelError, match="pass diag_reg="):
        effective_dimension(low, 0.0)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("shape", [(7,), (7, 3)])
def test_alignment_is_the_cosine_of_its_definition(centered, shape):
    k, y = gram(), torch.randn(shape, dtype=DTYPE)
    h = torch.eye(7, dtype=DTYPE) - (1 / 7 if centered else 0)
    target = y.reshape(7, -1) @ y.reshape(7, -1).mT
    a, b = (h @ m @ h if centered else m for m in (k, target))
    same(alignment(k, y, centered=centered), (a * b).sum() / (a.norm() * b.norm()))
    same(alignment(3 * target, y, centered=centered), torch.tensor(1.0, dtype=DTYPE))


def test_alignment_ignores_scale_and_when_centered_a_constant():
    k, y = gram(), torch.randn(7, dtype=DTYPE)
    same(alignment(5 * k, -2 * y), alignment(k, y))
    same(alignment(k + 40, y + 3), alignment(k, y))
    assert abs(alignment(k + 40, y, centered=False) - alignment(k, y, centered=False)) > 1e-3


def test_alignment_knows_the_labels_that_a_kernel_was_made_for():
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    y = torch.nn.functional.one_hot(labels).double()
    assert alignment(y @ y.mT + 0.1, y) > 0.999
    assert alignment(y @ y.mT, y[[0, 2, 4, 1, 3, 5]]) < 0.5


def test_gradients():
    half, y = (gram() / 2).requires_grad_(), torch.randn(7, 2, dtype=DTYPE, requires_grad=True)
    ridge = torch.tensor(0.2, dtype=DTYPE, requires_grad=True)

    def everything(half, y, ridge):
        k = half + half.mT
        return spectrum(k), effective_dimension(k, ridge), alignment(k, y), alignment(k, y, centered=False)

    assert torch.autograd.gradcheck(everything, (half, y, ridge))


def test_float32_is_solved_in_float64_and_returned_as_it_came():
    k, y = gram(), torch.randn(7, dtype=DTYPE)
    for function in (spectrum, lambda k: effective_dimension(k, 0.01), lambda k: alignment(k, y.to(k.dtype))):
        found = function(k.float())
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), function(k), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", [spectrum, lambda k: effective_dimension(k, 0.1), lambda k: alignment(k, torch.ones(3))])
@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (torch.ones(2, 3), ValueError, r"\(N, N\).*got \(2, 3\)"),
        (torch.eye(3).tolist(), TypeError, "torch.as_tensor"),
        (torch.eye(3).int(), TypeError, "floating point"),
        (math.nan * torch.eye(3), ValueError, "k: expected finite"),
        (torch.ones(3, 3).triu(), ValueError, "symmetric"),
    ],
)
def test_matrices_refused(function, k, error, message):
    with pytest.raises(error, match=message):
        function(k)


@pytest.mark.parametrize(
    ("k", "y", "centered", "error", "message"),
    [
        (torch.eye(3), torch.full((3,), 0.1), True, ValueError, "y: expected one that is not constant"),
        (torch.full((3, 3), 0.1), torch.arange(3.0), True, ValueError, "k: expected one that is not constant"),
        (torch.eye(3), torch.zeros(3), False, ValueError, "y: expected one that is not zero"),
        (torch.zeros(3, 3), torch.ones(3), False, ValueError, "k: expected one that is not zero"),
        (torch.eye(3), torch.ones(2), False, ValueError, r"y: expected shape \(3,\)"),
        (torch.eye(3), torch.ones(3).double(), False, TypeError, "k is torch.float32"),
    ],
)
def test_targets_refused(k, y, centered, error, message):
    with pytest.raises(error, match=message):
        alignment(k, y, centered=centered)


def test_negative_regulariser_refused():
    with pytest.raises(ValueError, match="diag_reg"):
        tt.predict.effective_dimension(torch.eye(3), -0.1)
