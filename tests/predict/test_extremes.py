"""The ends of a spectrum against all of it."""

import numpy as np
import pytest
import torch

from torchtangents.predict.extremes import extremes, largest_eigenvalue, smallest_eigenvalue

SPECTRA = {
    "one": [3.0],
    "two": [3.0, 1e-6],
    "equal": [2.0] * 30,
    "falling": np.logspace(4, -8, 150),
    "a cluster at the end": [1e4, *[1e-3] * 99, 9e-4],
    "a gap": [1e6, *np.linspace(1, 2, 60)],
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_against_the_spectrum(spectrum):
    values = torch.as_tensor(np.asarray(SPECTRA[spectrum]))
    n = len(values)
    basis, _ = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)))
    matrix = basis @ torch.diag(values) @ basis.mT
    matrix = (matrix + matrix.mT) / 2
    least, largest = extremes(matrix, torch.linalg.cholesky(matrix))
    rounding = 1e-15 * n * values.max().item()  # what forming the matrix moved its eigenvalues by
    assert least == pytest.approx(values.min().item(), rel=1e-5, abs=rounding)
    assert largest == pytest.approx(values.max().item(), rel=1e-5)
    assert extremes(matrix, torch.linalg.cholesky(matrix)) == (least, largest)


def test_zero():
    assert largest_eigenvalue(lambda v: 0 * v, 5) == 0.0


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e160, 1e290])
def test_any_unit(unit):
    """Lengths that ARPACK multiplies do not overflow."""
    values = unit * np.logspace(0, -4, 50)
    assert largest_eigenvalue(lambda v: values * v, 50) == pytest.approx(unit, rel=1e-5)
    assert smallest_eigenvalue(lambda v: v / values, 50) == pytest.approx(1e-4 * unit, rel=1e-5)


def test_an_inverse_that_overflows_is_that_of_zero():
    assert smallest_eigenvalue(lambda v: v * np.inf, 5) == 0.0


def test_tighter():
    """The tolerance is that of the residual, so at 1e-10 nothing is left of the error."""
    values = np.linspace(1, 2, 400)
    assert smallest_eigenvalue(lambda v: v / values, 400, 1e-10) == pytest.approx(1.0, rel=1e-14)
