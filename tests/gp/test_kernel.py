"""The kernel of a network in GPyTorch: its own contract, equality with tt.kernels and BoTorch, parameters, batches, refusals."""

import copy
import pickle
import unittest

import gpytorch
import pytest
import torch
from botorch.models.kernels.infinite_width_bnn import InfiniteWidthBNNKernel
from gpytorch.test.base_kernel_test_case import BaseKernelTestCase
from torch.nn import Sequential

import torchtangents as tt
from tests.tolerances import SAME

n = tt.nn
Kernel = tt.gp.InfiniteWidthKernel


def relu(depth=1, w_std=1.3, b_std=0.2):
    hidden = [layer for _ in range(depth) for layer in (n.LazyLinear(8, w_std=w_std, b_std=b_std), n.ReLU())]
    return Sequential(*hidden, n.LazyLinear(1, w_std=w_std, b_std=b_std))


def erf():
    return Sequential(n.LazyLinear(8, w_std=1.3), n.Erf(0.9, 1.1, 0.1), n.LazyLinear(8, w_std=0.7), n.RBF(1.5), n.LazyLinear(1))


def convolutional():
    return Sequential(n.Conv2d(2, 4, 3, padding=1, w_std=1.4), n.ReLU(), n.GlobalAvgPool(), n.Linear(4, 1, w_std=1.4))


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64)


class _Contract(BaseKernelTestCase):
    make = staticmethod(relu)
    kind = "nngp"

    def create_kernel_no_ard(self, **settings):
        return Kernel(self.make(), self.kind, tied=False, **settings)

    def create_kernel_ard(self, num_dims, **settings):
        raise NotImplementedError


class TestContractOfNngp(_Contract, unittest.TestCase):
    pass


class TestContractOfNtk(_Contract, unittest.TestCase):
    kind = "ntk"


class TestContractOfParametrised(_Contract, unittest.TestCase):
    make = staticmethod(erf)


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("make", [relu, erf])
def test_is_the_kernel_of_the_network(make, kind):
    net, x1, x2 = make(), data(5, 3), data(4, 3)
    kernel = Kernel(net, kind, tied=False).double()
    for one in kernel.learnable:  # in float64: GPyTorch keeps float32
        kernel.initialize(**{one.name: one.value})
    verb = getattr(tt, kind)
    torch.testing.assert_close(kernel(x1).to_dense(), verb(net, x1), rtol=SAME, atol=SAME)
    torch.testing.assert_close(kernel(x1, x2).to_dense(), verb(net, x1, x2), rtol=SAME, atol=SAME)
    torch.testing.assert_close(kernel(x1, diag=True), verb(net, x1, diagonal=True), rtol=SAME, atol=SAME)
    torch.testing.assert_close(kernel(x1[:4], x2, diag=True), verb(net, x1[:4], x2).diagonal(), rtol=SAME, atol=SAME)
    torch.testing.assert_close(kernel(x1)[1:3, 2:].to_dense(), verb(net, x1)[1:3, 2:], rtol=SAME, atol=SAME)


@pytest.mark.parametrize("depth", [1, 3])
def test_is_botorchs_kernel(depth):
    x1, x2 = data(6, 4), data(3, 4)
    peer = InfiniteWidthBNNKernel(depth, acos_eps=1e-15).double()  # its default moves equal inputs by 1e-7
    peer.weight_var, peer.bias_var = 1.7, 0.3
    kernel = Kernel(relu(depth)).double().initialize(w_std=1.7**0.5, b_std=0.3**0.5)
    for pair in ((x1,), (x1, x2)):
        torch.testing.assert_close(kernel(*pair).to_dense(), peer(*pair).to_dense(), rtol=0, atol=1e-5)
    torch.testing.assert_close(kernel(x1, diag=True), peer(x1, diag=True), rtol=0, atol=1e-5)
    kernel(x1, x2).to_dense().sum().backward()
    peer(x1, x2).to_dense().sum().backward()
    slopes = torch.autograd.grad(kernel.w_std, kernel.raw_w_std)[0], torch.autograd.grad(peer.weight_var, peer.raw_weight_var)[0]
    by_std, by_variance = kernel.raw_w_std.grad / slopes[0], peer.raw_weight_var.grad / slopes[1]
    torch.testing.assert_close(by_std, by_variance * 2 * kernel.w_std.detach(), rtol=1e-6, atol=0)


def test_images_are_restored():
    net, x = convolutional(), data(3, 2, 5, 4)
    kernel = Kernel(net, "ntk", input_shape=(2, 5, 4)).double().initialize(w_std=1.4, b_std=0.1)
    torch.testing.assert_close(kernel(x.flatten(1)).to_dense(), tt.ntk(net, x), rtol=SAME, atol=SAME)
    batch = x.flatten(1).reshape(3, 1, 40)
    torch.testing.assert_close(kernel(batch).to_dense()[:, 0, 0], tt.ntk(net, x, diagonal=True), rtol=SAME, atol=SAME)


# Parameters


def test_names():
    assert Kernel(relu(3)).names == ["w_std", "b_std"]
    assert Kernel(relu(1), tied=False).names == ["w_std_0", "b_std_0", "w_std_2", "b_std_2"]
    assert Kernel(relu(2, b_std=0.0)).names == ["w_std"]
    names = Kernel(erf(), tied=False).names
    assert [x for x in names if "std" not in x] == ["erf_a_1", "erf_b_1", "erf_c_1", "rbf_gamma_3"]


def test_positive_ones_have_a_constraint_and_the_others_none():
    kernel = Kernel(erf(), tied=False)
    constrained = {name.removesuffix("_constraint").removeprefix("raw_") for name, _ in kernel.named_constraints()}
    assert set(kernel.names) - constrained == {"erf_a_1", "erf_b_1", "erf_c_1"}
    kernel.initialize(erf_c_1=-2.0)
    assert kernel.erf_c_1.item() == -2
    with pytest.raises(RuntimeError, match="out of bounds"):
        Kernel(relu(), w_std_constraint=gpytorch.constraints.Interval(0.1, 2.0)).initialize(w_std=-1.0)


def test_one_constraint_and_one_prior_for_each_layer():
    prior, bounds = gpytorch.priors.GammaPrior(2.0, 1.0), gpytorch.constraints.Interval(0.1, 3.0)
    kernel = Kernel(
        relu(), tied=False, w_std_prior=prior, w_std_2_prior=gpytorch.priors.NormalPrior(1.0, 1.0), b_std_constraint=bounds
    )
    assert {name: type(p).__name__ for name, _, p, _, _ in kernel.named_priors()} == {
        "w_std_0_prior": "GammaPrior",
        "w_std_2_prior": "NormalPrior",
    }
    assert kernel.raw_b_std_0_constraint.upper_bound == 3 == kernel.raw_b_std_2_constraint.upper_bound


def test_priors_are_read_drawn_from_and_pickled():
    kernel = Kernel(relu(), w_std_prior=gpytorch.priors.GammaPrior(2.0, 1.0)).initialize(w_std=0.7)
    kernel = pickle.loads(pickle.dumps(kernel))
    ((_, owner, prior, closure, _),) = kernel.named_priors()
    assert closure(owner).item() == pytest.approx(0.7, abs=1e-6)
    assert prior.log_prob(closure(owner)).shape == (1, 1)
    kernel.sample_from_prior("w_std_prior")
    assert kernel.w_std.item() != pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_state_dict_round_trips(tied):
    x = data(4, 3)
    one = Kernel(relu(), tied=tied).double()
    for i, name in enumerate(one.names):
        one.initialize(**{name: 0.5 + 0.3 * i})
    other = Kernel(relu(), tied=tied).double()
    assert not torch.allclose(one(x).to_dense(), other(x).to_dense())
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x).to_dense(), other(x).to_dense())
    assert {k for k in one.state_dict() if not k.endswith("_bound")} == {f"raw_{name}" for name in one.names}


@pytest.mark.parametrize("again", [copy.deepcopy, lambda k: pickle.loads(pickle.dumps(k))], ids=["deepcopy", "pickle"])
def test_copies_are_equal_and_on_their_own(again):
    kernel, x = Kernel(relu(), w_std_prior=gpytorch.priors.GammaPrior(2.0, 1.0)).double().initialize(w_std=0.9), data(4, 3)
    twin = again(kernel)
    before = kernel(x).to_dense()
    assert torch.equal(twin(x).to_dense(), before)
    twin.initialize(w_std=2.0)
    assert not torch.allclose(twin(x).to_dense(), before)
    assert torch.equal(kernel(x).to_dense(), before)


def test_holds_no_weights_and_leaves_the_network_as_it_is():
    net = relu()
    net(torch.zeros(1, 2))
    kernel = Kernel(net, active_dims=(0, 2)).initialize(w_std=2.0)
    kernel(torch.randn(4, 3)).to_dense()
    assert sum(p.numel() for p in kernel.parameters()) == 2
    assert all(p.is_meta for p in kernel._held[0].parameters())
    assert net[0].w_std == 1.3 == kernel._held[0][0].w_std
    assert not any(p.is_meta for p in net.parameters())


def test_constants_follow_the_kernel():
    class Mixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = n.Conv1d(1, 4, 1), n.Linear(12, 1)
            self.register_buffer("mix", torch.rand(3, 3))

        def forward(self, x):
            return self.last(torch.relu(self.first(x) @ self.mix).flatten(1))

    kernel = Kernel(Mixed(), input_shape=(1, 3)).double()
    assert kernel._held[0].mix.dtype == torch.float64
    assert kernel(data(2, 3)).to_dense().dtype == torch.float64


def test_composes():
    x = data(5, 3)
    a, b = Kernel(relu()).double(), Kernel(erf(), "ntk", tied=False).double()
    scaled = gpytorch.kernels.ScaleKernel(a).double()
    scaled.outputscale = 2.5
    ka, kb = a(x).to_dense(), b(x).to_dense()
    torch.testing.assert_close(scaled(x).to_dense(), 2.5 * ka)
    torch.testing.assert_close((a + b)(x).to_dense(), ka + kb)
    torch.testing.assert_close((a * b)(x).to_dense(), ka * kb)
    torch.testing.assert_close((a * b)(x, diag=True), (ka * kb).diagonal())


# Batches


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize(
    ("batch", "first", "second"),
    [
        ((), (2, 3), (2, 3)),
        ((), (4,), ()),
        ((), (), (4,)),
        ((2,), (), ()),
        ((2,), (3, 2), (2,)),
        ((2, 1), (3,), ()),
        ((1,), (), ()),
        ((1, 1), (3,), ()),
    ],
)
def test_batches_are_the_single_ones(batch, first, second, kind):
    kernel = Kernel(relu(), kind, batch_shape=torch.Size(batch)).double()
    kernel.initialize(w_std=1 + torch.rand(*batch, 1, 1, dtype=torch.float64))
    x1, x2 = data(*first, 5, 3), data(*second, 4, 3)
    out = kernel.forward(x1, x2)
    whole = torch.broadcast_shapes(batch, first, second)
    assert out.shape == (*whole, 5, 4)
    values = kernel.w_std.expand(*whole, 1, 1).reshape(-1)
    single = Kernel(relu(), kind).double().initialize(b_std=kernel.b_std.reshape(-1)[0].item())
    flat = [x.expand(*whole, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (x1, x2)]
    for got, value, a, b in zip(out.reshape(-1, 5, 4), values, *flat, strict=True):
        single.initialize(w_std=value.item())
        torch.testing.assert_close(got, single(a, b).to_dense(), rtol=1e-12, atol=1e-12)
    diag = kernel(x1, diag=True)
    torch.testing.assert_close(diag, kernel.forward(x1, x1).diagonal(dim1=-2, dim2=-1), rtol=1e-12, atol=1e-12)


def test_rows_that_a_batch_shares():
    kernel = Kernel(relu()).double()
    x1, rows = data(6, 2, 3), data(5, 3)
    want = torch.stack([kernel(x, rows).to_dense() for x in x1])
    torch.testing.assert_close(kernel(x1, rows.expand(6, 5, 3)).to_dense(), want, rtol=SAME, atol=SAME)
    torch.testing.assert_close(kernel(rows.expand(6, 5, 3), x1).to_dense(), want.mT, rtol=SAME, atol=SAME)


def test_no_rows():
    kernel = Kernel(relu()).double()
    assert kernel.forward(data(2, 0, 3), data(4, 3)).shape == (2, 0, 4)


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 2)])
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_gradients_flow_to_inputs_and_parameters(kind, shape):
    kernel = Kernel(relu(), kind).double()
    x1, x2 = data(*shape).requires_grad_(), data(*shape).requires_grad_()
    raw = [p.detach().requires_grad_() for p in kernel.parameters()]

    def at(x1, x2, *raw):
        named = dict(zip((name for name, _ in kernel.named_parameters()), raw, strict=True))
        with gpytorch.settings.lazily_evaluate_kernels(False):  # while it has them
            return torch.func.functional_call(kernel, named, (x1, x2)).to_dense()

    assert torch.autograd.gradcheck(at, (x1, x2, *raw))
    assert torch.autograd.gradcheck(lambda x, *raw: at(x, x, *raw), (x1, *raw))


# Refusals


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Kernel(relu(), "rbf"), ValueError, "'nngp' or 'ntk', got 'rbf'"),
        (lambda: Kernel("net"), TypeError, "expected a torch.nn.Module, got str"),
        (lambda: Kernel(Sequential(n.LazyLinear(8), n.ReLU(), n.LazyLinear(1, w_std=2.0))), ValueError, "tied=False"),
        (lambda: Kernel(relu(), v_std_prior=gpytorch.priors.GammaPrior(1.0, 1.0)), TypeError, "unknown 'v_std_prior'.*w_std, b_std"),
        (lambda: Kernel(relu(), w_std_prior=1.0), TypeError, "w_std_prior: expected a gpytorch Prior, got float"),
        (lambda: Kernel(relu(), w_std_constraint=gpytorch.constraints.Interval(2.0, 3.0)), ValueError, "w_std: expected a value within"),
        (lambda: Kernel(convolutional(), input_shape=(2, 5, 4))(data(3, 39)).to_dense(), ValueError, "40 columns.*got 39"),
        (lambda: Kernel(Sequential(n.LazyLinear(8), n.ReLU()))(data(3, 4)).to_dense(), ValueError, "not Gaussian"),
        (lambda: Kernel(n.Conv2d(2, 4, 3), input_shape=(2, 5, 4))(data(3, 40)).to_dense(), ValueError, "positions"),
        (lambda: Kernel(Sequential(n.LazyLinear(8), n.Dropout(0.5), n.LazyLinear(1)))(data(3, 4)).to_dense(), ValueError, r"dropout.*model.eval\(\)"),
        (lambda: Kernel(relu())(data(3, 4), last_dim_is_batch=True).to_dense(), RuntimeError, "last_dim_is_batch is not supported"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:The last_dim_is_batch")
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_dropout_in_evaluation_is_nothing():
    net = Sequential(n.LazyLinear(8), n.Dropout(0.5), n.LazyLinear(1)).eval()
    x = data(3, 4)
    torch.testing.assert_close(Kernel(net).double()(x).to_dense(), tt.nngp(net, x), rtol=1e-6, atol=1e-6)
