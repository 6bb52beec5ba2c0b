"""Indexing in a user's forward: which rows are refused, and channels that are taken apart."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Sequential

import torchtangents as tt

from ..cases_layers import Apply

n = tt.nn


def kernels(function, x, channels=6):
    return tt.kernels(Sequential(n.Conv2d(2, channels, 3, w_std=1.4), Apply(function)), x)


def images():
    return torch.randn(3, 2, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "function",
    [lambda x: x[:, 1:4], lambda x: x[:, ::2], lambda x: x[:, [5, 0]], lambda x: x.flip(1), lambda x: x.roll(1, 1),
     lambda x: x.chunk(2, 1)[1], lambda x: torch.cat(x.split([1, 5], 1)[::-1], 1), lambda x: x.narrow(1, 2, 3)],
)  # fmt: skip
def test_some_channels_keep_the_law(function):
    x = images()
    whole = kernels(F.relu, x)
    torch.testing.assert_close(kernels(lambda x: F.relu(function(x)), x), whole, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(kernels(lambda x: function(F.relu(x)), x), whole, rtol=1e-12, atol=1e-15)


class Groups(torch.nn.Module):
    """relu(a), b as 4 + 2 channels."""

    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = n.Conv2d(2, 4, 3, w_std=1.4), n.Conv2d(2, 2, 3, b_std=0.7), function

    def forward(self, x):
        return self.function(torch.cat([F.relu(self.a(x)), self.b(x)], 1))


def test_channels_of_groups():
    """A slice takes so many of each group; whole groups stay themselves."""
    x = images()
    first, second = tt.nngp(Groups(lambda h: h[:, :4]), x), tt.nngp(Groups(lambda h: h[:, 4:]), x)
    torch.testing.assert_close(tt.nngp(Groups(lambda h: h[:, 3:]), x), (first + 2 * second) / 3)
    torch.testing.assert_close(tt.nngp(Groups(lambda h: h[:, [5, 0, 1, 4]]), x), (first + second) / 2)
    torch.testing.assert_close(tt.nngp(Groups(lambda h: h[:, :4] + h[:, :4]), x), 4 * first)
    doubled = tt.nngp(Groups(lambda h: h[:, 4:5] + h[:, 4:5]), x)
    torch.testing.assert_close(doubled, 4 * second)


def test_a_part_and_another_layer_are_independent():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = n.Conv2d(2, 6, 3, w_std=1.4), n.Conv2d(3, 3, 1, w_std=1.1)

        def forward(self, x):
            first, second = self.a(x).chunk(2, 1)
            return self.b(F.relu(second)) + first

    x = images()
    k, active = kernels(lambda h: h, x), kernels(F.relu, x)
    nngp = k.nngp + 1.21 * active.nngp + 0.01
    ntk = k.ntk + 1.21 * active.ntk + 1.21 * active.nngp + 0.01
    torch.testing.assert_close(tuple(tt.kernels(Net(), x)), (nngp, ntk))


def test_groups_that_meet_keep_which_channels_they_are():
    """(h + cat(a, b)) by halves: h comes in twice, but its halves are different channels."""

    class Net(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.h, self.a, self.b = n.Conv2d(2, 4, 3, w_std=1.4), n.Conv2d(2, 2, 3), n.Conv2d(2, 2, 3, b_std=0.6)
            self.function = function

        def forward(self, x):
            return self.function(self.h(x), torch.cat([self.a(x), self.b(x)], 1))

    x = images()
    h, a, b = (tt.kernels(layer, x) for layer in Net(None).children())
    halves = tt.kernels(Net(lambda h, g: (h + g)[:, :2] + (h + g)[:, 2:]), x)
    twice = tt.kernels(Net(lambda h, g: (h + g) + h), x)
    for mine, double, k, p, q in zip(halves, twice, h, a, b, strict=True):
        torch.testing.assert_close(mine, 2 * k + p + q)
        torch.testing.assert_close(double, 4 * k + (p + q) / 2)


def test_channels_of_the_data():
    """They differ, and are numbers: a part of them is that part."""
    x = images()
    norm = n.GroupNorm(1, 2, affine=False)

    class Plus(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = n.Conv2d(2, 2, 1)

        def forward(self, x):
            return (self.a(x) + x)[:, 1:]

    k = tt.kernels(n.Conv2d(2, 2, 1), x)
    product = torch.einsum("ahw,buv->abhwuv", x[:, 1], x[:, 1])
    torch.testing.assert_close(tt.nngp(Plus(), x), k.nngp + product)
    torch.testing.assert_close(tt.ntk(Plus(), x), k.ntk)
    assert tt.nngp(Sequential(norm, n.Conv2d(2, 3, 3)), x).shape == (3, 3, 4, 3, 4, 3)


def test_a_trained_gain_stays_with_some_of_its_channels():
    x = images()

    def ntk(*between):
        channels = 4 if between else 6
        return tt.ntk(Sequential(n.Conv2d(2, 6, 3), n.GroupNorm(1, 6), *between, n.Conv2d(channels, 1, 1)), x)

    part = Apply(lambda h: h[:, 2:])
    torch.testing.assert_close(ntk(part), ntk())
    after = [
        tt.ntk(Sequential(n.Conv2d(2, 6, 3), n.GroupNorm(1, 6), n.ReLU(), *b, n.Conv2d(6, 1, 1)), x)
        for b in ([], [Apply(lambda h: h.flip(1))])
    ]
    torch.testing.assert_close(after[1], after[0])
    with pytest.raises(tt.UnsupportedError, match="trained gain"):
        ntk(part, n.ReLU())


def test_different_channels_are_independent():
    """Sums of disjoint parts: variances add, and so do the kernels of gradients."""
    x = images()
    k = kernels(lambda h: h, x)
    double = type(k)(2 * k.nngp, 2 * k.ntk)
    for function in (
        lambda h: h[:, :3] + h[:, 3:],
        lambda h: h[:, ::2] + h[:, 1::2],
        lambda h: h[:, 2:][:, :2] + h[:, [5, 0]],
        lambda h: sum(h.chunk(2, 1)),
    ):
        torch.testing.assert_close(kernels(function, x), double)
    torch.testing.assert_close(kernels(lambda h: F.relu(h[:, :3] + h[:, 3:]), x), kernels(lambda h: F.relu(2**0.5 * h), x))
    torch.testing.assert_close(kernels(lambda h: h[:, :3] + h[:, :3], x).nngp, 4 * k.nngp)


@pytest.mark.parametrize("backward", ["view", "copy"])
def test_in_place_changes_of_a_slice_are_seen(backward):
    """A slice is a view, so that changing it changes what it came from; a list of positions is a copy."""

    def changed(x):
        part = x[:, :, 1:] if backward == "view" else x[:, :, [1, 2]]
        part.relu_()
        return x

    if backward == "view":
        with pytest.raises(tt.UnsupportedError, match="changed in place"):
            kernels(changed, images())
    else:
        torch.testing.assert_close(kernels(changed, images()), kernels(lambda x: x, images()))


REFUSED = {
    "batch-number": (lambda x: x[0], "batch"),
    "batch-slice": (lambda x: x[1:], "batch"),
    "batch-list": (lambda x: x[[0, 1]], "batch"),
    "batch-step": (lambda x: x[::2, :, 0], "batch"),
    "batch-none": (lambda x: x[None], "batch"),
    "batch-flip": (lambda x: x.flip(0), "flip acts on the batch"),
    "batch-roll": (lambda x: x.roll(1, 0), "roll acts on the batch"),
    "roll-flat": (lambda x: x.roll(1), "roll without dims"),
    "batch-chunk": (lambda x: x.chunk(3)[0], "split acts on the batch"),
    "batch-unbind": (lambda x: x.unbind()[0], "unbind acts on the batch"),
    "batch-narrow": (lambda x: x.narrow(0, 0, 1), "narrow acts on the batch"),
    "batch-select": (lambda x: x.select(0, 1), "select acts on the batch"),
    "iterated": (lambda x: next(iter(x)), "batch"),
    "one-channel": (lambda x: x[:, 0], r"one entry of the channels.*x\[:, i:j\]"),
    "one-channel-select": (lambda x: x.select(1, 2), "one entry of the channels"),
    "repeated-channels": (lambda x: x[:, [0, 0]], "repeats a channel"),
    "two-lists": (lambda x: x[:, :, [0, 1], [0, 1]], "several axes by lists"),
    "list-and-number": (lambda x: x[:, :, [0, 1], 0], "several axes by lists"),
    "mask-of-images": (lambda x: x[torch.ones(3, 6, 4, 3, dtype=torch.bool)], r"several axes|batch|of 4 axes"),
    "flattened": (lambda x: x.flatten(2)[..., 1:], "several axes of positions"),
    "flattened-channels": (lambda x: x.flatten(1)[:, 1:], "got channels"),
    "by-a-value": (lambda x: x[:, :, x.flatten(1)], "recorded value"),
    "overlapping-parts-added": (lambda x: x[:, :4] + x[:, 2:], r"both depend on '0 \(Conv2d\)'"),
    "parts-of-parts-added": (lambda x: x[:, 2:][:, :2] + x[:, :4][:, [3, 0]], r"both depend on '0 \(Conv2d\)'"),
    "other-places-of-overlapping-parts-added": (lambda x: x[:, :4] + F.avg_pool2d(x, 3, 1, 1)[:, 2:], r"both depend on '0 \(Conv2d\)'"),
    "shifted-channels-added": (lambda x: x + x.roll(1, 1), r"both depend on '0 \(Conv2d\)'"),
    "set": (lambda x: x.__setitem__((slice(None), 0), 0.0), "setitem"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    function, pattern = REFUSED[name]
    with pytest.raises(tt.UnsupportedError, match=f"(?s)1 \\(Apply\\): .*{pattern}"):
        kernels(function, images())


def test_channels_without_a_common_law_are_refused():
    pooled = tt.nngp(Groups(lambda h: F.avg_pool2d(h, 2)[:, :4]), images())  # groups stay groups through a pool
    torch.testing.assert_close(pooled, tt.nngp(Groups(lambda h: F.avg_pool2d(h[:, :4], 2)), images()))
    with pytest.raises(tt.UnsupportedError, match="no common law"):
        tt.nngp(Sequential(n.GroupNorm(1, 2), Apply(lambda x: x[:, :1]), n.Conv2d(1, 3, 3)), images())


BAD = {
    "out-of-range": (lambda x: x[:, :, 4], IndexError, "from -4 to 3, got 4"),
    "list-out-of-range": (lambda x: x[:, :, [0, -5]], IndexError, "from -4 to 3, got -5"),
    "too-many": (lambda x: x[:, :, 0, 0, 0], IndexError, "at most 4 indices"),
    "two-ellipses": (lambda x: x[..., 0, ...], IndexError, "one '...'"),
    "nothing": (lambda x: x[:, :, 2:2], ValueError, "at least one entry"),
    "negative-step": (lambda x: x[:, :, ::-1], ValueError, "torch.flip"),
    "floats": (lambda x: x[:, :, torch.tensor([0.5])], IndexError, "whole numbers"),
    "mask-length": (lambda x: x[:, :, torch.tensor([True, False])], IndexError, "mask over 4"),
    "narrow": (lambda x: x.narrow(2, 3, 2), IndexError, "entries between 0 and 4"),
    "split": (lambda x: x.split([1, 2], 2), ValueError, "sum to 4"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_indices_are_named(name):
    function, error, pattern = BAD[name]
    with pytest.raises(error, match=f"1 \\(Apply\\): .*{pattern}"):
        kernels(function, images())
