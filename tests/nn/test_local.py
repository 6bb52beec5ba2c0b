"""Local convolutions: forward with equal weights is a convolution's, and only equal positions covary."""

import copy
import pickle

import pytest
import torch

import torchtangents as tt

n = tt.nn
SHAPES = [(3, 1, 0), (3, 2, 1), ((2, 3), (1, 2), (0, 2)), (1, 3, 0)]


def layer(shape, **options):
    return n.LocalConv2d(2, 3, *shape, input_size=(5, 6), **{"w_std": 1.3, "b_std": 0.4, **options})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_forward_with_equal_weights_is_a_convolution(shape, parameterization):
    mine, conv = layer(shape, parameterization=parameterization), torch.nn.Conv2d(2, 3, *shape)
    with torch.no_grad():
        weight, bias = mine.weight[..., :1, :1], mine.bias[..., :1, :1]
        mine.weight.copy_(weight.expand_as(mine.weight))
        mine.bias.copy_(bias.expand_as(mine.bias))
        effective, shift = mine.law.effective(weight[..., 0, 0], bias[:, 0, 0], mine.fan_in)
        conv.load_state_dict({"weight": effective, "bias": shift})
    x = torch.randn(4, 2, 5, 6)
    assert mine(x).shape == (4, 3, *mine.output_size)
    torch.testing.assert_close(mine(x), conv(x))


def test_every_position_has_its_own_weights():
    mine = n.LocalConv1d(2, 3, 2, input_size=4, w_std=1.3, b_std=0.4)
    x = torch.randn(5, 2, 4)
    for p in range(3):
        weight, bias = mine.law.effective(mine.weight[..., p], mine.bias[:, p], mine.fan_in)
        expected = torch.einsum("nck,ock->no", x[..., p : p + 2], weight) + bias
        torch.testing.assert_close(mine(x)[..., p], expected)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_that_of_a_convolution_at_equal_positions(shape, parameterization):
    x, y = torch.randn(2, 2, 5, 6, dtype=torch.float64), torch.randn(3, 2, 5, 6, dtype=torch.float64)
    mine = tt.kernels(layer(shape, parameterization=parameterization), x, y)
    shared = tt.kernels(n.Conv2d(2, 3, *shape, w_std=1.3, b_std=0.4, parameterization=parameterization), x, y)
    positions = mine.nngp.shape[2:4]
    equal = torch.eye(positions.numel(), dtype=torch.float64).reshape(*positions, *positions)
    torch.testing.assert_close(mine.nngp, shared.nngp * equal)
    torch.testing.assert_close(mine.ntk, shared.ntk * equal)
    assert float(mine.nngp.abs().sum()) > 0


def test_flatten_does_not_see_whether_weights_are_shared():
    """Novak et al. 2019: without pooling, convolutions and local ones have one kernel."""
    x = torch.randn(3, 2, 5, 6, dtype=torch.float64)
    tail = (n.ReLU(), torch.nn.Flatten(), n.LazyLinear(1))
    torch.testing.assert_close(
        tt.kernels(torch.nn.Sequential(layer((3, 2, 1)), *tail), x),
        tt.kernels(torch.nn.Sequential(n.Conv2d(2, 3, 3, 2, 1, w_std=1.3, b_std=0.4), *tail), x),
    )


def test_by_hand_before_a_pool():
    """ReLU of independent positions: E relu(u) relu(v) = sqrt(v1 v2) / 2 pi there; the mean over all pairs."""
    x = torch.randn(2, 1, 3, dtype=torch.float64)
    net = torch.nn.Sequential(n.LocalConv1d(1, 4, 1, input_size=3, b_std=0.0), n.ReLU(), n.GlobalAvgPool())
    root = x[:, 0].abs()  # (N, 3): sqrt of the variances
    k = torch.einsum("ap,bq->abpq", root, root) / (2 * torch.pi)
    same = root[:, None] * root[None] / 2 * (x[:, None, 0] * x[None, :, 0] > 0)
    k[..., range(3), range(3)] = same
    torch.testing.assert_close(tt.nngp(net, x), k.mean((2, 3)))


def test_the_law_state_and_errors():
    torch.manual_seed(0)
    wide = n.LocalConv1d(20, 50, 3, input_size=8, w_std=1.7, b_std=0.3, parameterization="standard")
    assert wide.weight.std().item() == pytest.approx(1.7 / 60**0.5, rel=0.02)
    assert wide.bias.std().item() == pytest.approx(0.3, rel=0.1)
    assert set(wide.state_dict()) == {"weight", "bias"}
    assert wide.weight.shape == (50, 20, 3, 6)
    assert "input_size=(8,)" in repr(wide)
    assert n.LocalConv1d(2, 3, 2, bias=False, input_size=4).bias is None
    assert n.LocalConv1d(2, 3, 2, input_size=4, dtype=torch.float64).weight.dtype == torch.float64
    x = torch.randn(2, 20, 8)
    for clone in (copy.deepcopy(wide), pickle.loads(pickle.dumps(wide))):
        torch.testing.assert_close(clone(x), wide(x))
        torch.testing.assert_close(tt.ntk(clone, x), tt.ntk(wide, x))
    with pytest.raises(ValueError, match=r"LocalConv1d: expected \(N, 20"):
        wide(x[:, :, :5])
    with pytest.raises(ValueError, match=r"LocalConv1d: expected positions \(8,\), got \(7,\)"):
        tt.nngp(wide, x[:, :, :7])
    with pytest.raises(ValueError, match=r"LocalConv1d: expected input_size to hold a window of \(9,\), got \(8,\)"):
        n.LocalConv1d(2, 3, 9, input_size=8)
    with pytest.raises(TypeError, match="input_size"):
        n.LocalConv1d(2, 3, 9)


def test_the_verb_needs_random_weights_before_it():
    class Cut(tt.Layer):
        def forward(self, x):
            return x

        def propagate(self, k):
            return k.diagonal((0,))

    with pytest.raises(tt.UnsupportedError, match=r"2 \(Cut\): positions can only become independent behind random weights"):
        tt.nngp(torch.nn.Sequential(n.Conv1d(2, 3, 2), n.ReLU(), Cut()), torch.randn(2, 2, 4))
