"""Lazy layers: kernels of any width before the first forward, which alone decides it."""

import copy
import pickle

import pytest
import torch
from torch.nn import ReLU, Sequential
from torch.nn.parameter import UninitializedParameter

import torchtangents as tt

n = tt.nn
KINDS = {
    "linear": (lambda **o: n.LazyLinear(4, **o), lambda i, **o: n.Linear(i, 4, **o), torch.nn.LazyLinear, ()),
    "conv1d": (lambda **o: n.LazyConv1d(4, 3, 2, 1, **o), lambda i, **o: n.Conv1d(i, 4, 3, 2, 1, **o), torch.nn.LazyConv1d, (6,)),
    "conv2d": (lambda **o: n.LazyConv2d(4, (3, 2), 1, "same", **o), lambda i, **o: n.Conv2d(i, 4, (3, 2), 1, "same", **o), torch.nn.LazyConv2d, (5, 4)),
    "conv3d": (lambda **o: n.LazyConv3d(4, 2, **o), lambda i, **o: n.Conv3d(i, 4, 2, **o), torch.nn.LazyConv3d, (3, 2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_kernels_at_several_widths_do_not_fix_the_layer(kind, parameterization):
    lazy, plain, theirs, size = KINDS[kind]
    options = {"w_std": 1.3, "b_std": 0.4, "parameterization": parameterization}
    layer = lazy(**options)
    assert isinstance(layer, theirs)
    for width in (3, 5, 3):
        x = torch.randn(2, width, *size)
        torch.testing.assert_close(tt.kernels(layer, x), tt.kernels(plain(width, **options), x))
        assert isinstance(layer.weight, UninitializedParameter)
        assert isinstance(layer.bias, UninitializedParameter)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_forward_makes_a_layer_of_ours(kind):
    lazy, plain, _, size = KINDS[kind]
    layer, same = lazy(w_std=1.3, b_std=0.4), plain(3, w_std=1.3, b_std=0.4)
    x = torch.randn(2, 3, *size)
    layer(x)
    assert type(layer) is type(same)
    same.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), same(x))
    torch.testing.assert_close(tt.kernels(layer, x), tt.kernels(same, x))
    with pytest.raises(ValueError, match="expected"):
        tt.ntk(layer, torch.randn(2, 4, *size))


def test_weights_follow_their_law():
    torch.manual_seed(0)
    layer = n.LazyConv2d(200, (3, 4), w_std=1.7, b_std=0.3, parameterization="standard")
    layer(torch.randn(1, 30, 5, 5))
    assert layer.weight.std().item() == pytest.approx(1.7 / 360**0.5, rel=0.02)
    assert layer.bias.std().item() == pytest.approx(0.3, rel=0.2)
    layer = n.LazyLinear(200, w_std=1.7)
    layer(torch.randn(1, 300))
    assert layer.weight.std().item() == pytest.approx(1, rel=0.02)


def test_loaded_weights_decide_the_width_too():
    layer, source = n.LazyLinear(4), n.Linear(3, 4)
    layer.load_state_dict(source.state_dict())
    x = torch.randn(2, 3)
    torch.testing.assert_close(tt.ntk(layer, x), tt.ntk(source, x))
    with pytest.raises(ValueError, match="expected 3 features"):
        tt.ntk(layer, torch.randn(2, 5))
    torch.testing.assert_close(layer(x), source(x))


def test_no_bias_copies_and_a_whole_network():
    net = Sequential(n.LazyConv2d(4, 3, bias=False), ReLU(), torch.nn.Flatten(), n.LazyLinear(8), ReLU(), n.LazyLinear(1))
    assert net[0].bias is None
    x = torch.randn(3, 2, 5, 5)
    k = tt.kernels(net, x)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(tt.kernels(clone, x), k)
    assert net(x).shape == (3, 1)
    torch.testing.assert_close(tt.kernels(net, x), k)


def test_other_hooks_of_a_lazy_layer_are_refused():
    layer = n.LazyLinear(4)
    layer.register_forward_pre_hook(lambda module, args: args)
    with pytest.raises(tt.UnsupportedError, match="hooks"):
        tt.ntk(Sequential(layer), torch.randn(2, 3))


def test_given_covariances_do_not_tell_a_lazy_layer_its_width():
    net = Sequential(n.LazyLinear(4, b_std=0.0), ReLU(), n.Linear(4, 1))
    with pytest.raises(ValueError, match="give channels="):
        tt.propagate(net, torch.eye(2), torch.ones(2))
    torch.testing.assert_close(
        tt.propagate(net, torch.eye(2), torch.ones(2), channels=3),
        tt.propagate(Sequential(n.Linear(3, 4, b_std=0.0), *net[1:]), torch.eye(2), torch.ones(2)),
    )


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_flattened_inputs_of_two_sizes_are_refused(backend):
    """The width of a lazy layer is that of each data set, but one layer has one."""
    net = Sequential(n.LazyConv2d(4, 3), ReLU(), torch.nn.Flatten(), n.LazyLinear(1))
    x, y = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 6, 5)
    with pytest.raises(ValueError, match=r"3 \(LazyLinear\): reads 3 flattened positions of x1 and 4 of x2"):
        tt.ntk(net, x, y, backend=backend)
    with pytest.raises(ValueError, match=r"the output: reads 3 flattened positions of x1 and 4 of x2"):
        tt.ntk(net[:3], x, y, backend=backend)
