"""Inputs of different lengths in one batch: a masked input has the kernel of the input cut to its data."""

import pytest
import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt
from torchtangents.covariance.masks import windowed
from torchtangents.engine.dense import dense_kernels
from torchtangents.graph.program import record

from .nn.test_attention import check

n = tt.nn
SAME = {"rtol": 1e-11, "atol": 1e-12}


class Tokens(torch.nn.Module):
    """Attention over positions, and the mean of what is there."""

    def __init__(self, **options):
        super().__init__()
        self.embed, self.block = n.Linear(2, 8), n.TransformerEncoderLayer(8, 2, 8, norm_first=True, **options)
        self.read = n.Linear(8, 1)

    def forward(self, x):
        return self.read(torch.relu(self.block(self.embed(x.transpose(1, 2)))).mean(1))


def conv(channels, *args, **options):
    return n.Conv1d(channels, 8, *args, w_std=1.4, b_std=0.3, **options)


def pooled(*layers):
    return lambda: Sequential(*layers, n.GlobalAvgPool(), n.Linear(8, 1))


R = n.ReLU
LENGTHS = {
    "same": pooled(conv(2, 3, padding=1), R(), conv(8, 5, padding="same"), R()),
    "valid": pooled(conv(2, 3), R(), conv(8, 2, dilation=2), R()),
    "stride": pooled(conv(2, 3, 2, 1), R(), conv(8, 3, 2, 1), R()),
    "stride-valid": pooled(conv(2, 3, stride=2), R(), conv(8, 2), R()),
    "uneven": pooled(conv(2, 4, padding="same"), R(), conv(8, 2, padding="same"), R()),
    "wide-padding": pooled(conv(2, 3, padding=2), R(), conv(8, 1, padding=1), R()),
    "avg-pool": pooled(conv(2, 3, padding=1), R(), n.AvgPool1d(2), conv(8, 3, padding=1), n.Erf()),
    "pool-padded": pooled(conv(2, 3, padding=1), R(), n.AvgPool1d(3, 1, 1), conv(8, 3, padding=1), R()),
    "sum-pool": pooled(conv(2, 3, padding=1), R(), n.SumPool1d(3, 2), conv(8, 1), R()),
    "sum": lambda: Sequential(conv(2, 3, padding=1), R(), n.GlobalSumPool(), n.Linear(8, 1)),
    "transformer": Tokens,
    "transformer-causal": lambda: Tokens(causal=True, scores="relu"),
}  # fmt: skip


def masks(lengths, size):
    return torch.arange(size) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("name", LENGTHS)
def test_masked_inputs_are_shorter_inputs(name):
    net, x = LENGTHS[name](), torch.randn(3, 2, 11, dtype=torch.float64)
    lengths = [11, 8, 7]
    masked = tt.kernels(net, x, mask1=masks(lengths, 11))
    for i, a in enumerate(lengths):
        for j, b in enumerate(lengths):
            for part, alone in zip(masked, tt.kernels(net, x[i : i + 1, :, :a], x[j : j + 1, :, :b]), strict=True):
                torch.testing.assert_close(part[i, j], alone[0, 0], **SAME)


def test_masked_images_are_smaller_images():
    net = Sequential(
        n.Conv2d(2, 8, 3, 2, 1),
        R(),
        n.AvgPool2d(2, 1),
        n.Conv2d(8, 8, (3, 2), padding="same"),
        R(),
        n.GlobalAvgPool(),
        n.Linear(8, 1),
    )
    x, mask = torch.randn(3, 2, 9, 8, dtype=torch.float64), torch.zeros(3, 9, 8, dtype=torch.bool)
    sizes = [(9, 8), (6, 8), (5, 6)]
    for i, (h, w) in enumerate(sizes):
        mask[i, :h, :w] = True
    y = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    masked = tt.kernels(net, x, y, mask1=mask)
    for i, (h, w) in enumerate(sizes):
        for part, alone in zip(masked, tt.kernels(net, x[i : i + 1, :, :h, :w], y), strict=True):
            torch.testing.assert_close(part[i], alone[0], **SAME)


@pytest.mark.parametrize("name", LENGTHS)
def test_what_has_no_data_does_not_matter(name):
    net, x, mask = LENGTHS[name](), torch.randn(3, 2, 11, dtype=torch.float64), masks([9, 11, 7], 11)
    other = torch.where(mask[:, None], x, 100.0)
    both = tt.kernels(net, x, mask1=mask)
    torch.testing.assert_close(tt.kernels(net, other, mask1=mask), both, **SAME)
    torch.testing.assert_close(tt.kernels(net, x, x.clone(), mask1=mask, mask2=mask), both, **SAME)
    torch.testing.assert_close(tt.kernels(net, x, mask1=mask, tile=2), both, **SAME)
    torch.testing.assert_close(tt.kernels(net, x), tt.kernels(net, x, mask1=torch.ones_like(mask)), **SAME)
    for whole, own in zip(both, tt.kernels(net, x, mask1=mask, diagonal=True), strict=True):
        torch.testing.assert_close(own, whole.diagonal(), **SAME)


HOLES = torch.tensor([[1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1]], dtype=torch.bool)


@pytest.mark.parametrize("name", [name for name in LENGTHS if "valid" not in name])
def test_planes_match_dense_with_any_mask(name):
    net, x = LENGTHS[name](), torch.randn(3, 2, 6, dtype=torch.float64)
    first, second = record(net, (x,), HOLES), record(net, (x[:2],), True)
    for mine, oracle in zip(tt.kernels(net, x, x[:2], mask1=HOLES), dense_kernels(first, second), strict=True):
        assert float((mine - oracle).abs().max() / oracle.abs().max()) < 1e-12


@pytest.mark.parametrize("name", LENGTHS)
def test_single_precision_and_gradients(name):
    net, x, mask = LENGTHS[name](), torch.randn(3, 2, 11), masks([9, 11, 0], 11)
    high = tt.ntk(net, x.double(), mask1=mask)
    scale = high.diagonal().sqrt()
    assert ((tt.ntk(net, x, mask1=mask) - high).abs() < 1e-5 * scale[:, None] * scale).all()
    x = x.double().requires_grad_()
    tt.ntk(net, x, mask1=mask).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad[~mask[:, None].expand_as(x)].eq(0).all()


class Finite(torch.nn.Module):
    """What masks mean, written out: zeros before convolutions and the read-out, the mean over what is there."""

    def __init__(self, read):
        super().__init__()
        self.a, self.b, self.read, self.flat = n.Conv1d(2, 8, 3, padding=1), n.Conv1d(8, 8, 3, padding=1), None, None
        if read == "mean":
            self.read = n.Linear(8, 1)
        else:
            self.flat = n.Linear(48, 1)
        self.masked = True

    def forward(self, x):
        mask = HOLES[:, None].to(x) if self.masked else torch.ones(())
        x = self.b(self.a(x * mask) * mask)
        if self.read is None:
            return self.flat((x * mask).flatten(1))
        return self.read((x * mask).sum(2) / mask.sum(2) if self.masked else x.mean(2))


@pytest.mark.slow
@pytest.mark.parametrize("read", ["mean", "flat"])
def test_expected_kernels_of_finite_networks(read):
    net, x = Finite(read), torch.randn(3, 2, 6)
    net.masked = False
    exact = tt.kernels(net, x, mask1=HOLES)
    net.masked = True
    check(net, x, 3000, exact=exact)


def test_sums_join_masks():
    class Skip(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(2, 3, padding=1), conv(8, 3, padding=1)

        def forward(self, x):
            h = self.a(x)
            return (h + self.b(torch.relu(h))).mean(2)

    net, x = Skip(), torch.randn(2, 2, 9, dtype=torch.float64)
    masked = tt.ntk(net, x, mask1=masks([9, 6], 9))
    torch.testing.assert_close(masked[0, 1], tt.ntk(net, x[:1], x[1:, :, :6])[0, 0], **SAME)


def test_the_mask_of_a_window():
    mask = masks([4], 6)
    assert windowed(mask, 0, 6, 2, 1, 1, 1).tolist() == [[True] * 4 + [False] * 2]
    assert windowed(mask, 0, 4, 2, 1, 0, 0).tolist() == [[True] * 2 + [False] * 2]
    assert windowed(mask, 0, 3, 2, 2, 1, 1).tolist() == [[True, True, False]]
    assert windowed(mask, 0, 8, 2, 1, 2, 2).tolist() == [[True] * 6 + [False] * 2]


class Constants(torch.nn.Module):
    """Numbers join values of other sizes than the data, and of none."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(2, 3, 2, 1), conv(8, 3, padding=1), n.Linear(8, 8)

    def forward(self, x):
        return self.c(self.b(self.a(x) + 1.0).mean(2)) + 0.5


def test_constants_take_the_mask_of_what_they_join():
    net, x = Constants(), torch.randn(2, 2, 9, dtype=torch.float64)
    masked = tt.kernels(net, x, mask1=masks([9, 6], 9))
    for part, alone in zip(masked, tt.kernels(net, x[:1], x[1:, :, :6]), strict=True):
        torch.testing.assert_close(part[0, 1], alone[0, 0], **SAME)


class Forgets(tt.Layer):
    """Zeros where there are no data, and then data everywhere."""

    def forward(self, x):
        return x

    def propagate(self, k):
        return k.masked()


X, M = torch.randn(2, 2, 6), torch.ones(2, 6, dtype=torch.bool)
BAD = {
    "numbers": (lambda: tt.ntk(LENGTHS["same"](), X, mask1=M.float()), TypeError, "mask1 as a tensor of booleans"),
    "second": (lambda: tt.ntk(LENGTHS["same"](), X, mask2=M), ValueError, "mask2=None with x2=None"),
    "count": (lambda: tt.ntk(LENGTHS["same"](), X, X, mask2=M[:1]), ValueError, r"mask2 of shape \(N, \*positions\) with N=2"),
    "positions": (lambda: tt.ntk(LENGTHS["same"](), X, mask1=M[:, :5]), ValueError, r"0 \(Conv1d\): expected a mask of shape \(2, 6\)"),
    "pad": (lambda: tt.ntk(Sequential(n.ZeroPad1d(1), conv(2, 3), n.ZeroPad1d(1), R(), n.GlobalAvgPool()), X, mask1=torch.ones(2, 8).bool()),
            NotImplementedError, r"2 \(ZeroPad1d\): .*no rule for masks"),
    "exclude": (lambda: tt.ntk(Sequential(conv(2, 3), n.AvgPool1d(2, padding=1, count_include_pad=False), Flatten(), n.Linear(24, 1)), X, mask1=M),
                NotImplementedError, r"1 \(AvgPool1d\): .*different sizes"),
    "own-layer": (lambda: tt.ntk(Sequential(conv(2, 3, padding=1), Forgets(), n.GlobalAvgPool()), X, mask1=M), NotImplementedError,
                  r"1 \(Forgets\): this operation has no rule for masks"),
    "norm": (lambda: tt.ntk(Sequential(conv(2, 3, padding=1), n.LayerNorm((8, 6)), n.GlobalAvgPool()), X, mask1=M), NotImplementedError,
             r"1 \(LayerNorm\): .*no rule for masks"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_masks_are_named(name):
    build, error, pattern = BAD[name]
    with pytest.raises(error, match=f"(?s){pattern}"):
        build()
