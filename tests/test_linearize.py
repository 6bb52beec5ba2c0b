"""Linearised models and Taylor polynomials: exact where the model is one, of the right order where not, trained as any module."""

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.utils import _pytree as pytree

import torchtangents as tt

from .empirical.oracle import jacobians, kernel, single
from .finite_networks import NETWORKS, d, outputs
from .tolerances import SAME


def moved(net, expansion, size=1.0, seed=0):
    """Both with the same parameters, a random step away."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for (name, p), q in zip(net.named_parameters(), expansion.model.parameters(), strict=True):
            step = size * torch.randn_like(p) / math.sqrt(p.numel())
            p.add_(step), q.add_(step)
            assert name in dict(expansion.model.named_parameters())


def gap(a, b):
    pairs = zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)
    return max((x - y).abs().max().item() for x, y in pairs)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_value_at_the_expansion_point(name, degree):
    net, x = NETWORKS[name]()
    expansion = tt.taylor_expand(net, degree)
    found, wanted = outputs(expansion, x), outputs(net, x)
    assert pytree.tree_structure(found) == pytree.tree_structure(wanted)
    assert gap(found, wanted) < SAME


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_at_the_expansion_point(name, degree):
    net, x = NETWORKS[name]()
    expansion = tt.taylor_expand(net, degree)
    for f in (net, expansion):
        sum(t.sin().sum() for t in pytree.tree_leaves(outputs(f, x))).backward()
    for (key, p), q in zip(net.named_parameters(), expansion.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-10, atol=1e-12), key


@pytest.mark.parametrize("name", [k for k in NETWORKS if k != "relu"])  # whose error is that of the kinks that a step crosses
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_error_is_of_the_next_order(name, degree):
    """Halving the step divides the error by 2^(k + 1), LayerNorm, SiLU and GLU included, which torch itself gets wrong."""
    start, x = NETWORKS[name]()
    errors = []
    for size in (1e-2, 5e-3):
        net, expansion = copy.deepcopy(start), tt.taylor_expand(start, degree)
        moved(net, expansion, size)
        errors.append(gap(outputs(net, x), outputs(expansion, x)))
    assert errors[1] > 1e-13
    assert abs(math.log2(errors[0] / errors[1]) - (degree + 1)) < 0.2


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_exact_for_polynomials(degree):
    """A chain of k linear layers without biases is of degree k in its parameters."""
    net = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(degree))).double()
    expansion, x = tt.taylor_expand(net, degree), d(5, 4)
    short = tt.taylor_expand(net, degree - 1)
    moved(copy.deepcopy(net), short)
    moved(net, expansion)
    assert gap(net(x), expansion(x)) < 1e-12
    assert gap(net(x), short(x)) > 1e-3


def test_degree_one_is_the_linearisation():
    net, x = NETWORKS["mlp"]()
    one, linear = tt.taylor_expand(net, 1), tt.linearize(net)
    moved(copy.deepcopy(net), one), moved(copy.deepcopy(net), linear)
    assert torch.equal(one(x), linear(x))
    jacobian = jacrev(lambda p: functional_call(net, p, (x,)))(dict(net.named_parameters()))
    change = sum(
        torch.tensordot(j, q - p, p.ndim)
        for (j, p, q) in zip(jacobian.values(), net.parameters(), linear.parameters(), strict=True)
    )
    assert torch.allclose(linear(x), net(x) + change, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "residual", "language", "instance"])
def test_tangent_kernel_of_a_linearised_model_is_constant(name):
    net, x, _ = single(name)
    linear, quadratic = tt.linearize(net), tt.taylor_expand(net, 2)
    moved(copy.deepcopy(net), linear), moved(copy.deepcopy(net), quadratic)
    wanted = tt.empirical.operator(net, x).to_dense()
    assert torch.allclose(tt.empirical.operator(linear, x).to_dense(), wanted, rtol=1e-10, atol=1e-12)
    assert torch.allclose(tt.empirical.diagonal(linear, x, trace_axes=()), tt.empirical.diagonal(net, x, trace_axes=()))
    found, changed = tt.empirical.operator(quadratic, x).to_dense(), kernel(*jacobians(quadratic, x), *jacobians(quadratic, x))
    assert torch.allclose(found, changed, rtol=1e-10, atol=1e-12)
    assert gap(found, wanted) > 1e-3


def test_descent_of_the_linearised_model_is_gradient_flow():
    net, x = NETWORKS["mlp"]()
    y, x_test = d(5, 2), d(3, 3)

    def jacobian(at):
        j = jacrev(lambda p: functional_call(net, p, (at,)))(dict(net.named_parameters()))
        return torch.cat([t.reshape(len(at) * 2, -1) for t in j.values()], 1)  # (N O, P)

    j, j_test = jacobian(x).detach(), jacobian(x_test).detach()
    flow = tt.predict.GradientFlow(j @ j.T, y.flatten())
    with torch.no_grad():
        wanted = flow.at(2.0, net(x).flatten(), net(x_test).flatten(), j_test @ j.T)
    linear, errors = tt.linearize(net), []
    for steps in (200, 400):
        linear = tt.linearize(net)
        optimizer = torch.optim.SGD(linear.parameters(), lr=2.0 / steps)
        for _ in range(steps):
            optimizer.zero_grad()
            (0.5 * (linear(x) - y).square().mean()).backward()
            optimizer.step()
        errors.append([gap(linear(at).flatten(), w) for at, w in ((x, wanted.train), (x_test, wanted.test))])
    start = gap(net(x).flatten(), wanted.train)
    for coarse, fine in zip(*errors, strict=True):
        assert fine < 1e-3 * start
        assert abs(coarse / fine - 2) < 0.1  # the error of Euler's method, and nothing else


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.LBFGS])
def test_trains_with_any_optimizer(optimizer):
    net, x = NETWORKS["residual"]()
    before, expansion = copy.deepcopy(net.state_dict()), tt.linearize(net)
    expansion.train()  # does not reach BatchNorm: the expansion is of the model as it was
    step = optimizer(expansion.parameters(), lr=1e-2)

    def loss():
        step.zero_grad()
        value = (expansion(x) - 1).square().mean()
        value.backward()
        return value

    first = loss().item()
    for _ in range(10):
        step.step(loss)
    assert loss().item() < 0.9 * first
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())  # the model stays as it was
    assert gap(dict(expansion.origin.named_buffers()), {k: before[k] for k, _ in net.named_parameters()}) == 0


def test_state_dict_restores_parameters_and_expansion_point():
    net, x = NETWORKS["residual"]()
    expansion = tt.linearize(net)
    moved(copy.deepcopy(net), expansion)
    file = io.BytesIO()
    torch.save(expansion.state_dict(), file)
    file.seek(0)
    other = tt.linearize(NETWORKS["residual"]()[0])
    assert gap(other(x), expansion(x)) > 1e-3
    other.load_state_dict(torch.load(file))
    assert torch.equal(other(x), expansion(x))
    assert torch.equal(copy.deepcopy(expansion)(x), expansion(x))


def test_only_selected_parameters_are_variables():
    net, x = NETWORKS["residual"]()
    net.first.weight.requires_grad_(False)
    for selection, wanted in (
        (None, {k for k, _ in net.named_parameters()} - {"first.weight"}),
        (["last.weight", "first.bias"], {"last.weight", "first.bias"}),
        (lambda name, p: p.ndim == 1, {"first.bias", "block.0.weight", "block.0.bias", "last.bias"}),
    ):
        expansion = tt.taylor_expand(net, 2, parameters=selection)
        assert {k for k, _ in expansion.origin.named_buffers()} == wanted
        assert {k for k, p in expansion.model.named_parameters() if p.requires_grad} == wanted
        assert gap(expansion(x), net(x)) < SAME
    head = tt.linearize(net, parameters=["last.weight", "last.bias"])
    with torch.no_grad():
        for p, q in ((net.last.weight, head.model.last.weight), (net.last.bias, head.model.last.bias)):
            step = torch.randn_like(p)
            p.add_(step), q.add_(step)
    assert torch.allclose(head(x), net(x), atol=1e-12)  # the model is linear in these


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_follows_dtype_and_device(dtype):
    net, x = NETWORKS["residual"]()
    expansion = tt.linearize(net).to(dtype)
    assert expansion(x.to(dtype)).dtype == dtype
    assert all(t.dtype == dtype for t in expansion.origin.buffers())
    abroad = expansion.to("meta")
    assert abroad.model.last.weight.is_meta
    assert all(t.is_meta for t in abroad.origin.buffers())


def test_without_gradients_and_for_inputs_that_have_one():
    net, x = NETWORKS["mlp"]()
    expansion = tt.linearize(net)
    moved(copy.deepcopy(net), expansion)
    wanted = expansion(x)
    with torch.no_grad():
        assert torch.equal(expansion(x), wanted)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: expansion(x), (x,))


class Algebra(nn.Module):
    """A function of linear algebra, by name."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(3, 3), function

    def forward(self, x):
        m = self.layer(x)[:, None] * x[..., None] + 2 * torch.eye(3)  # (N, 3, 3)
        return self.function(m)


WRONG_TWICE = {
    "linalg_solve": lambda m: torch.linalg.solve(m, torch.ones(3)),
    "linalg_det": torch.linalg.det,
    "det": lambda m: m.det(),
    "logdet": lambda m: torch.logdet(m @ m.mT),
    "cumprod": lambda m: m.cumprod(-1),
    "native_layer_norm": lambda m: torch.native_layer_norm(m, [3], None, None, 1e-5)[0],
}


@pytest.mark.parametrize("name", WRONG_TWICE)
def test_functions_that_torch_differentiates_wrongly_are_refused(name):
    net, x = Algebra(WRONG_TWICE[name]), torch.randn(4, 3)
    assert torch.allclose(tt.linearize(net)(x), net(x), atol=1e-6)  # the first derivative is right
    for f, at in ((tt.taylor_expand(net, 2), x), (tt.linearize(net), x.clone().requires_grad_())):
        with pytest.raises(NotImplementedError, match=f"{name} wrongly in forward mode, more than once"):
            f(at)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cholesky_inverse", lambda m: torch.cholesky_inverse(torch.linalg.cholesky(m @ m.mT))),
        ("scatter_reduce", lambda m: m.scatter_reduce(1, torch.zeros_like(m, dtype=torch.long), m, "prod")),
    ],
)
def test_functions_whose_first_derivative_is_wrong_are_refused(name, function):
    net, x = Algebra(function), torch.randn(4, 3)
    with pytest.raises(NotImplementedError, match=f"{name} wrongly in forward mode .pytorch issue 198017"):
        tt.linearize(net)(x)
    with pytest.raises(NotImplementedError, match=name):
        tt.empirical.ntk_vp(net, x)(torch.ones(4, 3, 3))
    assert tt.empirical.trace(net, x) > 0  # backward derivatives are right


class Odd(nn.Module):
    """A layer and something that is refused."""

    def __init__(self, what):
        super().__init__()
        self.layer, self.what = nn.Linear(3, 2), what
        self.register_buffer("count", torch.zeros(()))
        self.p = 0.5

    def forward(self, x):
        y = self.layer(x)
        if self.what == "in place":
            self.count += 1
        if self.what == "assigned":
            self.count = self.count + 1
        if self.what == "random":
            y = nn.functional.dropout(y)
        if self.what == "integers":
            return {"logits": y, "labels": y.argmax(1)}
        return (y, None) if self.what == "none" else y


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.ReLU(), ValueError, "ReLU: expected at least one trainable parameter"),
        (lambda: nn.Linear(3, 2).requires_grad_(False), ValueError, "Linear: expected at least one trainable parameter"),
        (lambda: nn.LazyLinear(2), ValueError, "weight: .*run LazyLinear's forward once"),
        (
            lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)),
            ValueError,
            r"1 \(BatchNorm1d\) is in training mode.*eval\(\)",
        ),
        (lambda: nn.BatchNorm1d(3, track_running_stats=False).eval(), ValueError, "no running statistics"),
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.Dropout()), ValueError, r"1: .*random numbers.*model.eval\(\)"),
        (lambda: Odd("random"), ValueError, "Odd: .*random numbers"),
        (lambda: Odd("in place"), ValueError, "count: .*Odd's changes this one"),
        (lambda: Odd("assigned"), ValueError, "count: .*Odd's changes this one"),
        (lambda: Odd("integers"), TypeError, r"torch.int64 at output\['labels'\]"),
        (lambda: Odd("none"), TypeError, r"NoneType at output\[1\]"),
        (lambda: "net", TypeError, "torch.nn.Module, got str"),
    ],
)
def test_refusals(make, error, message):
    x = torch.randn(4, 3)
    with pytest.raises(error, match=message):
        tt.linearize(make())(x)


def test_refused_arguments():
    net = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"degree: .*got -1"):
        tt.taylor_expand(net, -1)
    for degree in (1.0, True, "2"):
        with pytest.raises(TypeError, match="degree: expected an integer"):
            tt.taylor_expand(net, degree)
    with pytest.raises(ValueError, match=r"parameters: 'gain' is no trainable parameter of Linear; .*weight, bias"):
        tt.linearize(net, parameters=["weight", "gain"])
    head = tt.linearize(net, parameters=["bias"])
    head.model.weight.requires_grad_()
    with pytest.raises(ValueError, match="weight: expected a constant"):
        head(torch.randn(4, 3))


def test_a_refused_model_is_left_as_it_was():
    net = Odd("in place")
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="count"):
        tt.linearize(net)(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    assert net.count == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled()
