"""Transposed convolutions: torch's forward, and the kernel as an explicit sum over taps."""

import itertools

import pytest
import torch

import torchtangents as tt

n = tt.nn
SHAPES = [  # kernel, stride, padding, output_padding, dilation
    (3, 1, 0, 0, 1), (3, 2, 1, 1, 1), ((2, 3), (3, 2), (0, 1), (2, 0), (1, 2)), (2, 3, 1, 0, 1), (1, 2, 0, 0, 1), (3, 2, 3, 1, 2),
]  # fmt: skip


def layer(shape, **options):
    kernel, stride, padding, output_padding, dilation = shape
    return n.ConvTranspose2d(2, 3, kernel, stride, padding, output_padding, 1, True, dilation, w_std=1.3, b_std=0.4, **options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_forward_is_that_of_torch(shape, parameterization):
    mine = layer(shape, parameterization=parameterization)
    theirs = torch.nn.ConvTranspose2d(
        2, 3, mine.kernel_size, mine.stride, mine.padding, mine.output_padding, 1, True, mine.dilation
    )
    weight, bias = mine.law.effective(mine.weight, mine.bias, mine.fan_in)
    theirs.load_state_dict({"weight": weight, "bias": bias})
    x = torch.randn(2, 2, 4, 5)
    torch.testing.assert_close(mine(x), theirs(x))


def test_a_wanted_size_is_that_of_torch():
    mine, theirs = (kind(2, 3, 3, 3, 1) for kind in (n.ConvTranspose1d, torch.nn.ConvTranspose1d))
    x = torch.randn(2, 2, 4)
    for size in (10, 11, 12):
        assert mine(x, [size]).shape == theirs(x, [size]).shape == (2, 3, size)
        assert mine(x, output_size=(2, 3, size)).shape == (2, 3, size)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.up = mine

            def forward(self, x):
                return self.up(x, output_size=[size])

        assert tt.nngp(Net(), x).shape == (2, 2, size, size)
    for bad in (9, 13):
        with pytest.raises(ValueError, match=r"from \(10,\) to \(12,\)"):
            mine(x, [bad])


def by_taps(x1, x2, kernel, stride, padding, dilation, size):
    """(N1, N2, P, P): mean over channels, sum over taps k with p = stride i - padding + dilation k, q likewise, over taps."""
    out = torch.zeros(len(x1), len(x2), size, size, dtype=x1.dtype)
    positions = range(x1.shape[2])
    for k, i, j in itertools.product(range(kernel), positions, positions):
        p, q = (stride * v - padding + dilation * k for v in (i, j))
        if 0 <= p < size and 0 <= q < size:
            out[:, :, p, q] += torch.einsum("ac,bc->ab", x1[:, :, i], x2[:, :, j]) / x1.shape[1] / kernel
    return out


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "extra", "dilation"), [(3, 1, 0, 0, 1), (3, 2, 1, 1, 1), (4, 3, 2, 2, 1), (3, 2, 3, 0, 2)]
)
def test_the_kernel_is_the_sum_over_taps_that_reach_both_positions(kernel, stride, padding, extra, dilation):
    x, y = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(3, 3, 4, dtype=torch.float64)
    size = stride * 3 - 2 * padding + dilation * (kernel - 1) + extra + 1
    k = by_taps(x, y, kernel, stride, padding, dilation, size)
    for standard in (False, True):
        options = {"w_std": 1.3, "b_std": 0.4, "parameterization": "standard" if standard else "ntk"}
        net = n.ConvTranspose1d(3, 5, kernel, stride, padding, extra, dilation=dilation, **options)
        mine = tt.kernels(net, x, y)
        torch.testing.assert_close(mine.nngp, 1.69 * k + 0.16)
        torch.testing.assert_close(mine.ntk, 3 * kernel * k + 1 if standard else mine.nngp)


@pytest.mark.slow
def test_the_variance_of_forward():
    """The law of the weights gives the kernel: many channels out are many draws."""
    mine = n.ConvTranspose1d(3, 40000, 3, 2, 1, 1, w_std=1.3, b_std=0.4)
    x = torch.randn(2, 3, 4)
    with torch.no_grad():
        f = mine(x)
    drawn = torch.einsum("acp,bcq->abpq", f, f) / f.shape[1]
    exact = tt.nngp(mine, x)
    own = exact[[0, 1], [0, 1]].diagonal(dim1=1, dim2=2)  # (N, P)
    error = (own[:, None, :, None] * own[None, :, None, :] + exact.square()).sqrt() / 200
    assert ((drawn - exact).abs() < 4.5 * error).all()  # 256 numbers


def test_laws():
    torch.manual_seed(0)
    assert set(layer(SHAPES[0]).state_dict()) == {"weight", "bias"}
    wide = n.ConvTranspose2d(30, 200, (3, 4), w_std=1.7, b_std=0.3)
    assert wide.fan_in == 360
    assert wide.weight.std().item() == pytest.approx(1, rel=0.02)
    wide = n.ConvTranspose2d(30, 200, (3, 4), w_std=1.7, b_std=0.3, parameterization="standard")
    assert wide.weight.std().item() == pytest.approx(1.7 / 360**0.5, rel=0.02)
    assert wide.bias.std().item() == pytest.approx(0.3, rel=0.2)
    assert "w_std=1.7" in repr(wide)
    assert n.ConvTranspose1d(2, 3, 2, bias=False).bias is None
