"""A constant matrix over positions: which axis, which matrices, what is refused."""

import pytest
import torch
from torch.nn import Sequential

import torchtangents as tt

from ..cases_layers import Apply

n = tt.nn
A = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def tokens():
    return torch.randn(3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))  # (N, positions, features)


def test_tokens_are_mixed_on_the_left():
    """(N, L, C) after a Linear: A acts on L, so K' = A K A^T."""
    x, layer = tokens(), n.Linear(5, 8)
    mine = tt.kernels(Sequential(layer, Apply(lambda h: A.to(h) @ h)), x)
    for part, k in zip(mine, tt.kernels(layer, x), strict=True):
        torch.testing.assert_close(part, torch.einsum("pk,abkl,ql->abpq", A, k, A))


def test_a_large_dense_matrix():
    """Many positions: matrix products instead of gathers; compiled code leaves it to the reference."""
    generator = torch.Generator().manual_seed(0)
    big = torch.randn(40, 48, dtype=torch.float64, generator=generator) / 7
    x = torch.randn(2, 48, 3, dtype=torch.float64, generator=generator)
    net = Sequential(
        n.Linear(3, 8), n.ReLU(), Apply(lambda h: big.to(h) @ h), n.Linear(8, 8), n.ReLU(), torch.nn.Flatten(), n.Linear(320, 1)
    )
    k = tt.kernels(Sequential(*net[:2]), x)
    mixed = tt.kernels(Sequential(*net[:3]), x)
    for part, before in zip(mixed, k, strict=True):
        torch.testing.assert_close(part, torch.einsum("pk,abkl,ql->abpq", big, before, big))
    torch.testing.assert_close(tt.ntk(net, x), tt.ntk(net, x, backend="reference"))
    with pytest.raises(tt.UnsupportedError, match="40 x 48 positions has no compiled rule"):
        tt.ntk(Sequential(*net[:3], n.Linear(8, 8), n.ReLU(), Apply(lambda h: h.mean(1))), x, backend="cpu")


def test_two_sizes_and_gradients():
    x, y = tokens(), tokens()[:, :4]
    net = Sequential(
        n.Linear(5, 8),
        Apply(lambda h: torch.ones(h.shape[1], h.shape[1], dtype=h.dtype).tril() @ h),
        n.ReLU(),
        Apply(lambda h: h.mean(1)),
    )
    assert tt.ntk(net, x, y).shape == (3, 3)
    torch.testing.assert_close(tt.ntk(net, x, y), tt.ntk(net, y, x).T)
    small = tokens()[:1, :2, :2].clone().requires_grad_()
    net = Sequential(
        n.Linear(2, 8), Apply(lambda h: torch.tensor([[1.0, -2.0], [0.5, 0.3]]).to(h) @ h), n.ReLU(), Apply(lambda h: h.mean(1))
    )
    assert torch.autograd.gradcheck(lambda x: tt.kernels(net, x, 2 * x + 1), (small,))


REFUSED = {
    "channels-right": (lambda h: h @ torch.ones(8, 8).to(h), r"channels \(axis 2.*tt.nn.Linear"),
    "channels-left": (lambda h: torch.ones(8, 8).to(h) @ h.transpose(1, 2), r"channels \(axis 1.*tt.nn.Linear"),
    "gradient": (lambda h: torch.ones(6, 6, dtype=h.dtype, requires_grad=True) @ h, "requires a gradient"),
    "parameter": (lambda h: torch.nn.Parameter(torch.ones(6, 6, dtype=h.dtype)) @ h, "parameter"),
    "one-for-each-input": (lambda h: torch.ones(3, 6, 6).to(h) @ h, r"\(3, 6, 6\); expected one dense real matrix"),
    "sparse": (lambda h: torch.eye(6).to_sparse().to(h) @ h, "one dense real matrix"),
    "einsum": (lambda h: torch.einsum("pq,nqc->npc", torch.ones(6, 6).to(h), h), "einsum has no infinite-width rule"),
    "two-values": (lambda h: h @ h.transpose(1, 2), "two recorded values has no infinite-width rule"),
    "bmm": (lambda h: torch.bmm(torch.ones(3, 6, 6).to(h), h), "bmm has no infinite-width rule"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    function, pattern = REFUSED[name]
    with pytest.raises(tt.UnsupportedError, match=f"(?s)1 \\(Apply\\): .*{pattern}"):
        tt.ntk(Sequential(n.Linear(5, 8), Apply(function)), tokens())


def test_the_batch_is_refused():
    for function in (lambda h: torch.ones(3, 3).to(h) @ h, lambda h: torch.ones(3).to(h) @ h):
        with pytest.raises(tt.UnsupportedError, match="inputs of the batch"):
            tt.ntk(Sequential(n.Linear(5, 8), Apply(function)), tokens()[:, 0])


def test_bad_matrices_are_named():
    for matrix, pattern in (
        (torch.ones(6, 5), r"over 6 positions, got shape \(6, 5\)"),
        (torch.full((6, 6), float("nan")), "finite"),
    ):
        with pytest.raises(ValueError, match=f"1 \\(Apply\\): .*{pattern}"):
            tt.ntk(Sequential(n.Linear(5, 8), Apply(lambda h, m=matrix: m.to(h) @ h)), tokens())


def test_a_matrix_from_the_data_is_refused_between_two_data_sets():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = n.Linear(5, 8)

        def forward(self, x):
            return (x[0] @ x[0].T) @ self.a(x)

    assert tt.ntk(Net(), tokens()).shape == (3, 3, 6, 6)
    with pytest.raises(ValueError, match=r"Net.*depends on the data"):
        tt.ntk(Net(), tokens(), 2 * tokens())


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_differences_of_positions_run_in_double_precision(backend):
    """What neighbours have in common cancels, and with it the digits of single precision."""
    difference = (torch.eye(8) - torch.eye(8).roll(1, 0))[1:]
    generator = torch.Generator().manual_seed(0)
    x = 0.5 + 1e-3 * torch.randn(6, 2, 8, generator=generator)
    x[1] = x[0]
    x[2] = x[0] + 1e-7 * torch.randn(2, 8, generator=generator)
    net = Sequential(
        n.Conv1d(2, 8, 3, padding=1, b_std=1.0),
        n.ReLU(),
        Apply(lambda h: h @ difference.T.to(h)),
        n.Conv1d(8, 8, 1, b_std=0.0),
        n.ReLU(),
        n.GlobalAvgPool(),
    )
    low, high = tt.kernels(net, x, backend=backend), tt.kernels(net, x.double(), backend=backend)
    for a, b in zip(low, high, strict=True):
        own = b.diagonal()
        assert float(((a - b).abs() / (own[:, None] * own).sqrt()).max()) < 1e-6


def test_gradients_of_a_large_matrix():
    generator = torch.Generator().manual_seed(0)
    big = torch.rand(10, 12, dtype=torch.float64, generator=generator)
    net = Sequential(
        n.Linear(1, 8), n.ReLU(), Apply(lambda h: big.to(h) @ h), n.Linear(8, 8), n.ReLU(), Apply(lambda h: h.mean(1))
    )
    x, y = (torch.randn(1, 12, 1, dtype=torch.float64, generator=generator) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: tt.kernels(net, x, y), (x.requires_grad_(),), fast_mode=True)
