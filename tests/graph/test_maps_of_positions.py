"""Everything that is linear over positions acts on both sides of a covariance: torch's own function on the kernel is the oracle."""

import math

import pytest
import torch
import torch.nn.functional as F

import torchtangents as tt

from ..cases_layers import Apply

n = tt.nn
A, B = (torch.randn(3, s, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (5, 4))
IMAGES = {
    "slice-step": [lambda x: x[:, :, ::2], lambda x: x[:, :, 0::2, :], lambda x: x.index_select(2, torch.tensor([0, 2, 4]))],
    "slice-ends": [lambda x: x[..., 1:-1], lambda x: x[:, :, :, 1:3], lambda x: x.narrow(3, 1, 2), lambda x: torch.narrow(x, -1, -3, 2)],
    "slice-both": [lambda x: x[:, :, 1:4, -2:], lambda x: x[:, :, 1:4][..., 2:], lambda x: n.ZeroPad2d((-2, 0, -1, -1))(x)],
    "slice-nothing": [lambda x: x[:], lambda x: x[...], lambda x: x[:, :, :], lambda x: x[0:]],
    "number": [lambda x: x[:, :, 1], lambda x: x[:, :, -4], lambda x: x.select(2, 1), lambda x: x[:, :, torch.tensor(1)], lambda x: x.unbind(2)[1]],
    "two-numbers": [lambda x: x[:, :, 1, -1], lambda x: x[:, :, 1][..., 3]],
    "number-between": [lambda x: x[:, :, 3], lambda x: x[:, :, 3, None].squeeze(2), lambda x: x[:, None, :, 3].flatten(1, 2), lambda x: x[:, :, 3:4].squeeze(2)],
    "list": [lambda x: x[:, :, [4, 0, 0, -1]], lambda x: x[:, :, torch.tensor([4, 0, 0, 4])], lambda x: torch.index_select(x, 2, torch.tensor([4, 0, 0, 4]))],
    "mask": [lambda x: x[..., torch.tensor([True, False, False, True])], lambda x: x[..., [0, 3]], lambda x: x[:, :, :, ::3]],
    "flip": [lambda x: x.flip(2), lambda x: torch.flip(x, [2]), lambda x: x.flip((-2,)), lambda x: x[:, :, [4, 3, 2, 1, 0]]],
    "flip-both": [lambda x: x.flip(2, 3), lambda x: torch.flip(x, (-1, -2))],
    "roll": [lambda x: x.roll(2, 2), lambda x: torch.roll(x, (2,), (2,)), lambda x: torch.roll(x, shifts=-3, dims=-2)],
    "roll-both": [lambda x: torch.roll(x, (1, -1), (2, 3)), lambda x: x.roll(1, 2).roll(3, 3)],
    "split": [lambda x: x.split(2, 2)[1], lambda x: x.split([2, 2, 1], -2)[1], lambda x: torch.chunk(x, 3, 2)[1], lambda x: x[:, :, 2:4]],
    "chunk-last": [lambda x: x.chunk(2, dim=3)[1], lambda x: x[..., 2:]],
    "reflect": [torch.nn.ReflectionPad2d((2, 1, 4, 0)), n.ReflectionPad2d((2, 1, 4, 0)), lambda x: F.pad(x, (2, 1, 4, 0), mode="reflect")],
    "replicate": [torch.nn.ReplicationPad2d((2, 1, 7, -1)), n.ReplicationPad2d((2, 1, 7, -1)), lambda x: F.pad(x, (2, 1, 7, -1), "replicate")],
    "circular": [torch.nn.CircularPad2d((4, 1, 0, 2)), n.CircularPad2d((4, 1, 0, 2)), lambda x: F.pad(x, (4, 1, 0, 2), mode="circular")],
    "zeros": [torch.nn.ZeroPad2d((2, 1, 7, -1)), n.ZeroPad2d((2, 1, 7, -1)), lambda x: F.pad(x, (2, 1, 7, -1)), torch.nn.ConstantPad2d((2, 1, 7, -1), 0.0)],
    "adaptive-overlap": [torch.nn.AdaptiveAvgPool2d((3, 6)), n.AdaptiveAvgPool2d((3, 6)), lambda x: F.adaptive_avg_pool2d(x, (3, 6))],
    "adaptive-one-axis": [torch.nn.AdaptiveAvgPool2d((2, None)), n.AdaptiveAvgPool2d((2, None)), lambda x: F.adaptive_avg_pool2d(x, (2, 4))],
    "nearest": [torch.nn.Upsample(scale_factor=2), n.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2), torch.nn.UpsamplingNearest2d((10, 8))],
    "nearest-uneven": [torch.nn.Upsample((7, 3)), n.Upsample(size=(7, 3)), lambda x: F.interpolate(x, (7, 3)), lambda x: F.interpolate(x, (7, 3), mode="nearest")],
    "nearest-exact": [lambda x: F.interpolate(x, (7, 3), mode="nearest-exact"), n.Upsample((7, 3), mode="nearest-exact")],
    "bilinear": [torch.nn.Upsample((8, 3), mode="bilinear"), n.Upsample((8, 3), mode="bilinear"), lambda x: F.interpolate(x, (8, 3), mode="bilinear")],
    "bilinear-factor": [n.Upsample(scale_factor=(1.7, 0.6), mode="bilinear"), lambda x: F.interpolate(x, None, (1.7, 0.6), "bilinear")],
    "bilinear-recomputed": [n.Upsample(None, 1.7, "bilinear", None, True), lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True)],
    "bilinear-corners": [n.Upsample((8, 3), mode="bilinear", align_corners=True), lambda x: F.interpolate(x, (8, 3), mode="bilinear", align_corners=True)],
    "bicubic": [n.Upsample((8, 3), mode="bicubic"), lambda x: F.interpolate(x, (8, 3), mode="bicubic", align_corners=False)],
    "area": [lambda x: F.interpolate(x, (3, 2), mode="area"), lambda x: F.adaptive_avg_pool2d(x, (3, 2))],
    "matrix-left": [lambda x: A.to(x) @ x, lambda x: torch.matmul(A.type_as(x), x), lambda x: A[None, None].to(x) @ x, lambda x: (x.mT @ A.T.to(x)).mT],
    "matrix-right": [lambda x: x @ B.T.to(x), lambda x: torch.matmul(x, B.T.to(x)), lambda x: x.matmul(B.T.to(x)), lambda x: (B.to(x) @ x.transpose(2, 3)).transpose(2, 3)],
    "vector-left": [lambda x: A[0].to(x) @ x, lambda x: torch.matmul(A[0].to(x), x), lambda x: (A[:1].to(x) @ x)[:, :, 0]],
    "vector-right": [lambda x: x @ B[1].to(x), lambda x: (x @ B[1][:, None].to(x)).squeeze(-1)],
}  # fmt: skip
SEQUENCES = {
    "adaptive": [torch.nn.AdaptiveAvgPool1d(4), n.AdaptiveAvgPool1d(4), lambda x: F.adaptive_avg_pool1d(x, 4)],
    "reflect": [torch.nn.ReflectionPad1d((3, 2)), n.ReflectionPad1d((3, 2)), lambda x: F.pad(x, (3, 2), mode="reflect")],
    "replicate": [torch.nn.ReplicationPad1d((9, 2)), n.ReplicationPad1d((9, 2)), lambda x: F.pad(x, (9, 2), mode="replicate")],
    "linear": [torch.nn.Upsample(11, mode="linear"), n.Upsample(11, mode="linear"), lambda x: F.interpolate(x, 11, mode="linear")],
    "linear-corners": [n.Upsample(11, mode="linear", align_corners=True), lambda x: F.interpolate(x, 11, mode="linear", align_corners=True)],
    "nearest": [n.Upsample(scale_factor=1.5), lambda x: F.interpolate(x, scale_factor=1.5)],
}  # fmt: skip
VOLUMES = {
    "pool": [torch.nn.AvgPool3d((2, 3, 2), 1), n.AvgPool3d((2, 3, 2), 1), lambda x: F.avg_pool3d(x, (2, 3, 2), 1)],
    "pool-padded": [torch.nn.AvgPool3d(2, padding=1, count_include_pad=False), n.AvgPool3d(2, None, 1, False, False)],
    "sum": [n.SumPool3d(2), lambda x: F.avg_pool3d(x, 2) * 8],
    "adaptive": [torch.nn.AdaptiveAvgPool3d((2, 3, 1)), n.AdaptiveAvgPool3d((2, 3, 1)), lambda x: F.adaptive_avg_pool3d(x, (2, 3, 1))],
    "zeros": [torch.nn.ZeroPad3d((1, 0, 0, 2, -1, 0)), n.ZeroPad3d((1, 0, 0, 2, -1, 0)), lambda x: F.pad(x, (1, 0, 0, 2, -1, 0))],
    "circular": [torch.nn.CircularPad3d((1, 0, 0, 2, 1, 0)), n.CircularPad3d((1, 0, 0, 2, 1, 0))],
    "trilinear": [torch.nn.Upsample((4, 3, 5), mode="trilinear"), n.Upsample((4, 3, 5), mode="trilinear")],
}  # fmt: skip
TABLES = {2: ((5, 4), IMAGES), 1: ((7,), SEQUENCES), 3: ((3, 4, 2), VOLUMES)}
CASES = [(axes, name) for axes, (_, table) in TABLES.items() for name in table]


def stem(axes):
    layer = {1: n.Conv1d, 2: n.Conv2d, 3: n.Conv3d}[axes]
    return torch.nn.Sequential(layer(2, 8, 3, padding=1, w_std=1.3, b_std=0.3), n.ReLU())


def both_sides(function, k, size):
    """function over the first positions and the second positions of (N1, N2, *size, *size)."""
    count, positions = math.prod(k.shape[:2]), math.prod(size)
    left = function(k.reshape(count, *size, positions).movedim(-1, 1))  # (N1 N2, |S2|, *out)
    out = left.shape[2:]
    right = function(left.reshape(count, positions, -1).transpose(1, 2).reshape(count, -1, *size))  # (N1 N2, |out|, *out)
    return right.reshape(*k.shape[:2], *out, *out)


@pytest.mark.parametrize(("axes", "name"), CASES)
def test_the_function_on_the_kernel_is_the_kernel_of_the_function(axes, name):
    size, table = TABLES[axes]
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    whole = tt.kernels(stem(axes), x)
    functions = table[name]
    y = torch.randn(3, 4, *size, dtype=torch.float64)
    for function in functions:
        torch.testing.assert_close(function(y), functions[0](y))
        mine = tt.kernels(torch.nn.Sequential(*stem(axes), Apply(function)), x)
        for part, k in zip(mine, whole, strict=True):
            expected = both_sides(functions[0], k, size)
            assert part.shape == expected.shape
            torch.testing.assert_close(part, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["slice-step", "flip", "reflect", "bilinear", "matrix-right", "adaptive-overlap"])
def test_before_a_nonlinearity(name):
    """The squared distance is carried too: the pairs that are equal stay so, in single precision."""
    x = torch.randn(3, 2, 5, 4)
    x[1] = x[0]
    net = torch.nn.Sequential(stem(2)[0], Apply(IMAGES[name][0]), n.ReLU(), torch.nn.Flatten(), n.LazyLinear(1))
    low, high = tt.kernels(net, x), tt.kernels(net, x.double())
    for a, b in zip(low, high, strict=True):
        own = b.diagonal()
        assert float(((a - b).abs() / (own[:, None] * own).sqrt()).max()) < 1e-4
        assert abs(float(a[0, 1] / a[0, 0]) - 1) < 1e-6
