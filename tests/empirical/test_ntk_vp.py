"""Products with vectors against the Jacobian; what every function of `empirical` refuses."""

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import torchtangents as tt

from ..finite_networks import NETWORKS, d, outputs
from .oracle import Leaf, jacobians, single


def vectors(net, x, block=None):
    lead = () if block is None else (block,)
    return pytree.tree_map(lambda t: d(*lead, *t.shape), outputs(net, x))


def applied(j1, j2, v):
    """J1 J2' v for lists of Jacobians and outputs."""
    w = sum(torch.tensordot(t, j, t.ndim) for t, j in zip(v, j2, strict=True))
    return [j @ w for j in j1]


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_those_of_the_jacobian(name, batch_size):
    """Outputs that are tuples or dictionaries included, whose cross terms count."""
    (net, x1), (_, x2) = NETWORKS[name](), NETWORKS[name]()
    j1, j2 = jacobians(net, x1), jacobians(net, x2)
    for given, j in ((x2, j2), (None, j1)):
        product = tt.empirical.ntk_vp(net, x1, given, batch_size=batch_size)
        product.block_size = 2  # a block of three is computed in two parts
        v = vectors(net, x1 if given is None else x2)
        block = vectors(net, x1 if given is None else x2, 3)
        assert pytree.tree_structure(product(v)) == pytree.tree_structure(v)
        for found, wanted in zip(pytree.tree_leaves(product(v)), applied(j1, j, pytree.tree_leaves(v)), strict=True):
            assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-10)
        for i in range(3):
            wanted = applied(j1, j, [t[i] for t in pytree.tree_leaves(block)])
            for found, each in zip(pytree.tree_leaves(product(block)), wanted, strict=True):
                assert torch.allclose(found[i], each, rtol=1e-10, atol=1e-10)


def test_more_samples_on_one_side():
    net, x = NETWORKS["mlp"]()
    v, j = d(1, 2), jacobians(net, x)[0]
    assert torch.allclose(tt.empirical.ntk_vp(net, x, x[:1])(v), applied([j], [j[:1]], [v])[0])
    assert torch.allclose(tt.empirical.ntk_vp(net, x[:1], x)(d(5, 2) * 0), torch.zeros(1, 2).double())


@pytest.mark.parametrize("selected", [["net.first.weight"], ["net.block.0.bias", "net.last.weight"]])
def test_selected_parameters(selected):
    net, x = Leaf(NETWORKS["residual"]()[0]), d(4, 2, 5, 5)
    j = jacobians(net, x, selected)
    v = d(4, 3)
    wanted = applied(j, j, [v])[0]
    for choice in (selected, iter(selected), lambda name, p: name in selected):
        assert torch.allclose(tt.empirical.ntk_vp(net, x, parameters=choice)(v), wanted)
    for name, p in net.named_parameters():
        p.requires_grad_(name in selected)
    assert torch.allclose(tt.empirical.ntk_vp(net, x)(v), wanted)


def test_the_network_is_that_of_the_call_and_stays_as_it_is():
    net, x, _ = single("mlp")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    product = tt.empirical.ntk_vp(net, x)
    assert not product(d(5, 2)).requires_grad
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())


def test_later_changes_of_the_network_have_no_effect():
    net, x, _ = single("residual")
    v = d(4, 3)
    product, k = tt.empirical.ntk_vp(net, x), tt.empirical.operator(net, x)
    stream = iter(tt.empirical.trace_estimate(net, x, n_samples=[2, 3], generator=torch.Generator().manual_seed(0)))
    wanted, diagonal, trace = product(v), k.diagonal(), tt.empirical.trace(net, x)
    next(stream)
    optimizer = torch.optim.SGD(net.train().parameters(), lr=0.1)
    net(x).square().sum().backward()
    optimizer.step()
    assert torch.equal(product(v), wanted)
    assert torch.equal(k.diagonal(), diagonal)
    assert (next(stream).mean - trace).abs() < 0.9 * trace
    net.float()
    assert torch.equal(product(v), wanted)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.layer(x)


class Mixing(nn.Module):
    """What it says of one sample depends on the others."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x - x.mean(0))


class Labels(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x).argmax(1)


class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x).T


X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
REFUSED = {
    "no trainable parameter": (lambda: nn.Linear(3, 2).requires_grad_(False), X, ValueError, "Linear: expected at least one trainable"),
    "no parameter": (nn.ReLU, X, ValueError, "ReLU: expected at least one trainable"),
    "BatchNorm": (lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), X, ValueError, r"1 \(BatchNorm1d\) is in training mode"),
    "dropout": (lambda: nn.Sequential(nn.Linear(3, 2), nn.Dropout()), X, ValueError, "1: .*random numbers"),
    "state": (Counter, X, ValueError, "calls: .*Counter's changes this one"),
    "samples mixed": (Mixing, X, ValueError, "Mixing: .*depend on that sample only"),
    "time on axis 0": (lambda: Leaf(nn.LSTM(3, 2)), X[:, None], ValueError, "Leaf: .*batch_first=True"),
    "nothing out": (lambda: nn.Linear(3, 0), X, ValueError, "Linear: expected at least one number in output"),
    "integers out": (Labels, X, TypeError, "Labels: .*got torch.int64 at output"),
    "samples elsewhere": (Turned, X, ValueError, "Turned: expected the samples on axis 0"),
    "half": (lambda: nn.Linear(3, 2).half(), X.half(), TypeError, r"float32 or float64, got torch.float16; use model.float\(\)"),
    "dtypes": (lambda: nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1).double()), X, TypeError, "one dtype"),
    "complex": (lambda: nn.Linear(3, 2, dtype=torch.complex64), X, TypeError, "weight: expected a real"),
    "lazy": (lambda: nn.LazyLinear(2), X, ValueError, "weight: .*run LazyLinear's forward once"),
    "no module": (lambda: torch.relu, X, TypeError, "expected a torch.nn.Module"),
    "no tensor": (lambda: nn.Linear(3, 2), [[1.0]], TypeError, "without a tensor"),
    "no samples": (lambda: nn.Linear(3, 2), X[:0], ValueError, "N >= 1"),
    "different numbers": (lambda: nn.Bilinear(3, 3, 2), (X, X[:2]), ValueError, r"got shapes \(4, 3\), \(2, 3\).*a buffer"),
    "NaN in": (lambda: nn.Linear(3, 2), X / torch.tensor([1, 1, 0]) * 0, ValueError, "expected finite numbers in x"),
}  # fmt: skip
FUNCTIONS = {
    "ntk_vp": lambda net, x: tt.empirical.ntk_vp(net, x),
    "operator": lambda net, x: tt.empirical.operator(net, x),
    "diagonal": lambda net, x: tt.empirical.diagonal(net, x),
    "trace": lambda net, x: tt.empirical.trace(net, x),
    "pseudo": lambda net, x: tt.empirical.pseudo_ntk(net, x),
    "features": lambda net, x: tt.empirical.features(net, x, dim=2, generator=torch.Generator()),
    "trace_estimate": lambda net, x: tt.empirical.trace_estimate(net, x, n_samples=2),
    "top": lambda net, x: tt.empirical.top_eigenpairs(net, x, 1),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", REFUSED)
def test_refused_networks_and_inputs(case, function):
    make, x, error, message = REFUSED[case]
    state = torch.get_rng_state()
    net = make()
    torch.set_rng_state(state)
    with pytest.raises(error, match=message):
        FUNCTIONS[function](net, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not isinstance(net, Counter) or net.calls == 0


def test_weights_that_are_not_finite():
    net = nn.Linear(3, 2)
    nn.init.constant_(net.bias, torch.inf)
    with pytest.raises(OverflowError, match="Linear: expected finite outputs"):
        tt.empirical.ntk_vp(net, X)


def test_refused_vectors_and_second_inputs():
    net = nn.Linear(3, 2)
    product = tt.empirical.ntk_vp(net, X)
    for v, error, message in (
        (torch.ones(4, 3), ValueError, r"expected shapes \[\(4, 2\)\].*got \[\(4, 3\)\]"),
        (torch.ones(2, 2, 4, 2), ValueError, "one more axis in front"),
        (torch.ones(4, 2).double(), TypeError, "expected torch.float32 on cpu, as the parameters, got torch.float64"),
        ({"logits": torch.ones(4, 2)}, TypeError, "structure of the outputs, got dict"),
        ([[1.0, 2.0]], TypeError, "got list"),
    ):
        with pytest.raises(error, match=message):
            product(v)
    with pytest.raises(ValueError, match="expected finite numbers in x2"):
        tt.empirical.ntk_vp(net, X, X / 0)
    convolution = nn.Conv1d(1, 1, 2)
    with pytest.raises(ValueError, match="outputs of one shape for x1 and x2"):
        tt.empirical.ntk_vp(convolution, torch.ones(2, 1, 4), torch.ones(2, 1, 5))
    for size in (0, -1, 2.0):
        with pytest.raises(ValueError, match="batch_size: expected a positive number"):
            tt.empirical.ntk_vp(net, X, batch_size=size)
    with pytest.raises(ValueError, match="parameters: 'gain' is no trainable parameter"):
        tt.empirical.ntk_vp(net, X, parameters=["gain"])


def test_attention_settings_are_restored():
    net, x = NETWORKS["transformer"]()
    tt.empirical.ntk_vp(net, x)(torch.ones_like(net(x)))
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()
