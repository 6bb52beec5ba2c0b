"""The finite side: laws, state dicts, copies, hyperparameters."""

import copy
import pickle

import pytest
import torch
from torch.nn import ReLU, Sequential

import torchtangents as tt

n = tt.nn


def test_layers_are_those_of_torch():
    assert issubclass(n.Linear, torch.nn.Linear)
    assert issubclass(n.Conv2d, torch.nn.Conv2d)
    assert set(n.Conv2d(3, 4, 3).state_dict()) == {"weight", "bias"}
    assert n.Linear(3, 4, bias=False).bias is None
    assert "w_std=1.5" in repr(n.Linear(3, 4, w_std=1.5))


@pytest.mark.parametrize("build", [lambda **o: n.Linear(300, 200, **o), lambda **o: n.Conv2d(30, 200, (3, 4), **o)])
def test_weights_follow_their_law(build):
    torch.manual_seed(0)
    layer = build(w_std=1.7, b_std=0.3)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.02)
    layer = build(w_std=1.7, b_std=0.3, parameterization="standard")
    assert layer.weight.std().item() == pytest.approx(1.7 / layer.weight[0].numel() ** 0.5, rel=0.02)
    assert layer.bias.std().item() == pytest.approx(0.3, rel=0.2)


def test_both_parametrisations_compute_the_same_function():
    ntk, standard = n.Conv2d(3, 5, 3, w_std=1.3, b_std=0.2), n.Conv2d(3, 5, 3, parameterization="standard")
    weight, bias = ntk.law.effective(ntk.weight, ntk.bias, 27)
    standard.load_state_dict({"weight": weight, "bias": bias})
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(standard(x), ntk(x))


def test_hyperparameters_are_differentiable_and_outside_registration():
    w, b = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64)), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    net = Sequential(n.Linear(3, 8, w_std=w, b_std=b), ReLU(), n.Linear(8, 1, w_std=w))
    assert len(list(net.parameters())) == 4
    x = torch.randn(3, 3, dtype=torch.float64)

    def kernel(w, b):
        return tt.kernels(
            Sequential(n.Linear(3, 8, w_std=w, b_std=b), n.ABReLU(b, 1.0), n.Linear(8, 1, w_std=w)), x, x.flip(0) + 1
        )

    assert torch.autograd.gradcheck(kernel, (w, b))
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert not clone[0].w_std.requires_grad
        torch.testing.assert_close(tt.ntk(clone, x), tt.ntk(net, x).detach())


def test_no_bias_and_zero_bias():
    x = torch.randn(3, 4)
    torch.testing.assert_close(tt.ntk(n.Linear(4, 2, bias=False), x), tt.ntk(n.Linear(4, 2, b_std=0.0), x))
    standard = {"parameterization": "standard"}
    off, zero = n.Linear(4, 2, bias=False, **standard), n.Linear(4, 2, b_std=0.0, **standard)
    torch.testing.assert_close(tt.ntk(zero, x), tt.ntk(off, x) + 1)  # it starts at zero, and is trained


def test_a_layer_of_the_users_own():
    class Scale(tt.Layer):
        def forward(self, x):
            return 3 * x

        def propagate(self, k):
            return k * 3.0

    x = torch.randn(3, 4)
    torch.testing.assert_close(tt.ntk(Sequential(n.Linear(4, 8), Scale()), x), 9 * tt.ntk(n.Linear(4, 8), x))


def test_layers_train_and_compile():
    net = Sequential(n.Linear(4, 8), n.ReLU(), n.Linear(8, 1))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    x = torch.randn(5, 4)
    torch.testing.assert_close(compiled(x), net(x))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    before = net(x).square().mean()
    for _ in range(20):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    assert net(x).square().mean() < before
