"""float32 against float64: every clause of the promise in docs/architecture.md."""

import itertools

import pytest
import torch
from torch.nn import Sequential

import torchtangents as tt

from .cases import ACTIVATIONS, DEEP, NETS, arguments, each, floats, inputs
from .tolerances import FLOAT32, FLOAT32_POOLED

TAIL = (tt.nn.Conv2d(4, 4, 2), tt.nn.ReLU(), torch.nn.Flatten(), tt.nn.Linear(24, 1))
FAMILY = {"relu": tt.nn.ReLU, "leaky": lambda: tt.nn.LeakyReLU(0.2), "abs": tt.nn.Abs, "abrelu": lambda: tt.nn.ABReLU(-0.5, 1.0)}


def worst(net, x1, x2=None):
    """The largest |dk| / sqrt(k11 k22) over both kernels."""
    wide1, wide2 = (None if x is None else floats(torch.Tensor.double, x) for x in (x1, x2))
    low, high = tt.kernels(net, x1, x2), tt.kernels(net, wide1, wide2)
    own1 = tt.kernels(net, wide1, diagonal=True)
    own2 = own1 if x2 is None else tt.kernels(net, wide2, diagonal=True)
    errors = []
    for a, b, v1, v2 in zip(low, high, own1, own2, strict=True):
        assert torch.isfinite(a).all()
        errors.append(((a.double() - b).abs() / (v1[:, None] * v2[None]).sqrt()).max())
    return float(max(errors))


def chain(act, depth, b_std=0.1, w_std=2**0.5):
    layers, width = [], 10
    for _ in range(depth):
        layers += [tt.nn.Linear(width, 16, w_std=w_std, b_std=b_std), act()]
        width = 16
    return Sequential(*layers, tt.nn.Linear(16, 1, b_std=b_std))


def vectors():
    """Generic, equal, near-duplicate, opposite and zero inputs, in one batch."""
    x = torch.randn(4, 10)
    near = x[0].clone()
    near[3] = torch.nextafter(near[3], torch.tensor(9.0))
    return torch.cat([x, x[:1], near[None], (x[1] * (1 + 1e-4 * torch.randn(10)))[None], -x[2:3]])


def pictures(channels=3, size=8):
    """Different images with flat ground, an image twice, a near-duplicate, and noise."""
    flat = torch.full((3, channels, size, size), 0.5)
    flat[0, :, 2:4, 2:4], flat[1, :, 5:7, 1:3] = torch.randn(channels, 2, 2), torch.randn(channels, 2, 2)
    near = flat[0].clone()
    near[0, 0, 0] += 1e-6
    return torch.cat([flat, flat[:1], near[None], torch.randn(1, channels, size, size)])


def cnn(depth, act=tt.nn.ReLU, head="flatten"):
    layers, width = [], 3
    for _ in range(depth):
        layers += [tt.nn.Conv2d(width, 8, 3, padding=1, w_std=2**0.5), act()]
        width = 8
    tail = [torch.nn.Flatten(), tt.nn.Linear(8 * 64, 1)] if head == "flatten" else [tt.nn.GlobalAvgPool(), tt.nn.Linear(8, 1)]
    return Sequential(*layers, *tail)


@pytest.mark.parametrize("act", FAMILY)
@pytest.mark.parametrize("depth", [3, 20])
def test_relu_family_on_generic_equal_and_near_inputs(act, depth):
    assert worst(chain(FAMILY[act], depth), vectors()) < FLOAT32
    assert worst(chain(FAMILY[act], depth), vectors(), vectors()[[2, 0, 1]]) < FLOAT32


@pytest.mark.parametrize("head", ["flatten", "pool"])
def test_flat_ground_at_depth_20(head):
    assert worst(cnn(20, head=head), pictures()) < FLOAT32


@pytest.mark.parametrize("scale", [1e-15, 1e-8, 1e-3, 1e3, 1e8, 1e15])
@pytest.mark.parametrize("b_std", [0.0, 0.1])
def test_extreme_scales(scale, b_std):
    assert worst(chain(tt.nn.ReLU, 20, b_std), vectors()[:7] * scale) < FLOAT32


def test_depth_100():
    assert worst(chain(tt.nn.ReLU, 100), vectors()[:7]) < FLOAT32
    assert worst(chain(tt.nn.ReLU, 100, 0.0), vectors()[:7]) < FLOAT32


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_depth_100_at_extreme_scales(scale):
    assert worst(chain(tt.nn.ReLU, 100, 0.0), vectors()[:7] * scale) < FLOAT32


def test_parallel_unequal_inputs_without_bias():
    x = torch.randn(1, 10)
    x = torch.cat([x, 2.0 * x, 1.0001 * x, 1e-3 * x, 1.7 * x])
    assert worst(chain(tt.nn.ReLU, 20, 0.0), x) < FLOAT32_POOLED


def test_interior_pooling():
    net = Sequential(
        *cnn(3, head="flatten")[:-2],
        tt.nn.AvgPool2d(2),
        tt.nn.Conv2d(8, 8, 3, padding=1, w_std=2**0.5),
        tt.nn.ReLU(),
        tt.nn.AvgPool2d(3, 1),
        tt.nn.Conv2d(8, 8, 2, w_std=2**0.5),
        tt.nn.ReLU(),
        torch.nn.Flatten(),
        tt.nn.Linear(8, 1),
    )
    assert worst(net, pictures()) < FLOAT32_POOLED


@pytest.mark.parametrize("name", [a for a in ACTIVATIONS if a not in ("sign",)])
def test_every_activation(name):
    layers = [tt.nn.Linear(10, 16, w_std=2**0.5)]
    for _ in range(3):
        layers += [ACTIVATIONS[name](), tt.nn.Linear(16, 16, w_std=2**0.5)]
    assert worst(Sequential(*layers), vectors()) < FLOAT32


@pytest.mark.parametrize("name", ["erf", "gelu", "sin"])
def test_smooth_activations_at_depth_20(name):
    layers = [tt.nn.Linear(10, 16, w_std=2.0)]
    for _ in range(20):
        layers += [ACTIVATIONS[name](), tt.nn.Linear(16, 16, w_std=1.4)]
    assert worst(Sequential(*layers), vectors()) < FLOAT32


@pytest.mark.parametrize("name", [c for c in NETS if c not in DEEP and c != "positions"])
def test_every_image_case(name):
    assert worst(NETS[name](), inputs(name, dtype=torch.float32)) < FLOAT32_POOLED


@pytest.mark.slow
@pytest.mark.parametrize("name", [c for c in NETS if c != "positions"])
def test_finite_values_and_gradients_at_zero_equal_parallel_and_opposite_inputs(name):
    def special(t):
        if not t.is_floating_point():
            return torch.cat([t, t[:1], t[:1], t[:1], t[:1]])
        return torch.cat([t, t[:1], 2 * t[:1], -t[:1], torch.zeros_like(t[:1])]).requires_grad_()

    x = each(special, inputs(name, 2))
    nngp, ntk = tt.kernels(NETS[name](), x)
    assert torch.isfinite(nngp).all()
    assert torch.isfinite(ntk).all()
    leaves = [t for t in arguments(x) if t.requires_grad]
    if leaves:  # tokens have no gradient
        for grad in torch.autograd.grad(nngp.sum() + ntk.sum(), leaves, allow_unused=True):
            assert torch.isfinite(grad).all()


@pytest.mark.parametrize("name", ["attention-softmax", "attention-root", "attention-residual", "position-cat", "graph"])
def test_cases_in_single_precision(name):
    x = inputs(name, 4, torch.float32)
    assert worst(NETS[name](), floats(lambda t: torch.cat([t, t[:1], t[1:2] + 1e-6]), x)) < FLOAT32


@pytest.mark.parametrize("name", ["fc-relu", "fc-erf", "fc-gelu", "fc-rbf", "layernorm-small", "overlap-small"])
def test_gradients_are_right(name):
    shape = (4,) if name in DEEP else (1, 4, 3)
    x, y = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True), torch.randn(1, *shape, dtype=torch.float64)
    small = {
        "layernorm-small": lambda: Sequential(
            tt.nn.Conv2d(1, 4, 2), tt.nn.LayerNorm((4, 3, 2)), tt.nn.ReLU(), tt.nn.GlobalAvgPool()
        ),
        "overlap-small": lambda: Sequential(tt.nn.Conv2d(1, 4, 2, padding=1), tt.nn.ReLU(), tt.nn.AvgPool2d(2, 1), *TAIL),
    }
    net = (NETS | small)[name]()
    assert torch.autograd.gradcheck(lambda x: tt.kernels(net, x, y), (x,), atol=1e-6, nondet_tol=1e-12)


def test_the_diagonal_is_the_exact_recursion():
    """Equal inputs: K' = w2 K / 2 + b2 and Theta' = K' + w2 Theta / 2 for ReLU, to rounding."""
    x = torch.randn(5, 10, dtype=torch.float64)
    k = x.square().mean(1)
    k = t = 2 * k + 0.01
    for _ in range(20):
        k, t = 2 * k / 2 + 0.01, 2 * t / 2
        t = t + k
    mine = tt.kernels(chain(tt.nn.ReLU, 20), x)
    # chain has w_std^2 = 2 in every layer but the last, where it is 1
    k_last, t_last = (k - 0.01) / 2 + 0.01, (t - k) / 2
    torch.testing.assert_close(mine.nngp.diagonal(), k_last, rtol=1e-13, atol=0)
    torch.testing.assert_close(mine.ntk.diagonal(), k_last + t_last, rtol=1e-13, atol=0)


def test_no_nan_for_any_pair_of_special_inputs():
    special = [0.0, 1e-38, -1e-38, 1e-15, 1.0, -1.0, 1e15]
    x = torch.tensor(list(itertools.product(special, special)))
    for act in ("relu", "abs", "erf", "gelu"):
        k = tt.kernels(Sequential(tt.nn.Linear(2, 8, b_std=0.0), ACTIVATIONS[act](), tt.nn.Linear(8, 1)), x)
        assert torch.isfinite(k.nngp).all()
        assert torch.isfinite(k.ntk).all()
