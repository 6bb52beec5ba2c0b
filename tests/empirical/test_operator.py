"""The NTK as a linear operator against its matrix."""

import linear_operator
import pytest
import torch
from linear_operator import settings

import torchtangents as tt

from ..finite_networks import NETWORKS, d
from .oracle import jacobians, kernel, single

AXES = {
    "mlp": [(-1,), (1,), ()],
    "relu": [(-1,), ()],
    "flat": [(-1,), ()],
    "residual": [(-1,), ()],
    "language": [(-1,), (1,), (1, 2), (-1, 1), ()],
    "recurrent": [(-1,), (1,)],
    "transformer": [(1, -1)],
}
CASES = [(name, axes) for name, each in AXES.items() for axes in each]


def close(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("name", "axes"), CASES)
def test_dense_transpose_and_diagonal(name, axes):
    net, x1, x2 = single(name)
    (j1,), (j2,) = jacobians(net, x1), jacobians(net, x2)
    wanted, square = kernel(j1, j2, axes), kernel(j1, j1, axes)
    cross = tt.empirical.operator(net, x1, x2, trace_axes=axes)
    own = tt.empirical.operator(net, x1, trace_axes=axes)
    assert isinstance(cross, linear_operator.LinearOperator)
    assert cross.shape == wanted.shape
    assert close(cross.to_dense(), wanted)
    assert close(cross.mT.to_dense(), wanted.T)
    assert close(cross.diagonal(), wanted.diagonal())
    assert close(own.to_dense(), square)
    assert own.mT is own
    assert close(own.diagonal(), square.diagonal())


def test_products():
    net, x1, x2 = single("language")
    wanted = kernel(*jacobians(net, x1), *jacobians(net, x2))
    k = tt.empirical.operator(net, x1, x2, batch_size=2)
    right, left = d(len(wanted), 3), d(4, len(wanted))
    assert close(k @ right, wanted @ right)
    assert close(k @ right[:, 0], wanted @ right[:, 0])
    assert close(k @ right.expand(2, *right.shape), (wanted @ right).expand(2, -1, -1))
    assert close(left @ k, left @ wanted)
    rows = torch.tensor([0, 3, 3, 5])
    assert close(k[rows, rows], wanted[rows, rows])
    assert close(k[2, 5], wanted[2, 5])
    assert close(k[rows, 1], wanted[rows, 1])
    assert close(k[2], wanted[2])
    assert close(k[1:4, 2:].to_dense(), wanted[1:4, 2:])


def test_precision_of_vectors():
    net, x, _ = single("mlp")
    wanted = kernel(*jacobians(net, x), *jacobians(net, x))
    k = tt.empirical.operator(net.float(), x.float())
    assert (k @ d(5, 1).float()).dtype == torch.float32
    assert k.double().dtype == torch.float64
    assert torch.allclose(k.double() @ torch.eye(5).double(), wanted, rtol=1e-4)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("axes", [(-1,), ()])
def test_conjugate_gradients(axes, preconditioned):
    net, x, _ = single("residual")
    square = kernel(*jacobians(net, x), *jacobians(net, x), axes)
    y = d(len(square), 2)
    jitter = square.diagonal().mean().item() * 0.1
    k = tt.empirical.operator(net, x, trace_axes=axes)
    wanted = torch.linalg.solve(square + jitter * torch.eye(len(y)).double(), y)
    with (
        settings.max_cholesky_size(1),
        settings.cg_tolerance(1e-5),
        settings.min_preconditioning_size(1 if preconditioned else 10**6),
    ):
        for regularised in (k.add_jitter(jitter), k.add_diagonal(torch.full((len(y),), jitter).double())):
            assert torch.allclose(regularised.solve(y), wanted, atol=1e-4 * wanted.abs().max())
    assert torch.allclose(k.add_jitter(jitter).solve(y), wanted, rtol=1e-6)  # by Cholesky
    assert torch.allclose(k.add_jitter(jitter).logdet(), torch.logdet(square + jitter * torch.eye(len(y)).double()))


def test_prediction_by_gpytorch():
    gpytorch = pytest.importorskip("gpytorch")
    net, x, _ = single("mlp")
    k = tt.empirical.operator(net, x).add_jitter(0.1)
    y = d(5)
    law = gpytorch.distributions.MultivariateNormal(torch.zeros(5).double(), k)
    wanted = torch.distributions.MultivariateNormal(torch.zeros(5).double(), k.to_dense()).log_prob(y)
    assert torch.allclose(law.log_prob(y), wanted)


def test_refusals():
    net, x, _ = single("mlp")
    for axes, message in (
        ((2,), r"expected axes of an output \(1, 2\), got \(2,\)"),
        ((0,), "none of them that of the samples"),
        ((-2,), "none of them that of the samples"),
        ((1, -1), "different axes"),
        (("channel",), "expected axes"),
    ):
        with pytest.raises(ValueError, match=message):
            tt.empirical.operator(net, x, trace_axes=axes)
    pair, given = NETWORKS["recurrent"]()
    with pytest.raises(ValueError, match=r"expected one output, got output\[0\], output\[1\]"):
        tt.empirical.operator(pair, given)
    with pytest.raises(ValueError, match=r"expected the operator on cpu, .*got meta"):
        tt.empirical.operator(net, x).to(torch.device("meta"))
