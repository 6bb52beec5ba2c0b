"""Upsample: torch's arguments and errors; its map is tested in tests/graph/test_maps_of_positions.py."""

import pytest
import torch
from torch.nn import Sequential

import torchtangents as tt

n = tt.nn


@pytest.mark.parametrize(
    "options",
    [{"size": (7, 3)}, {"scale_factor": (2, 1.5), "mode": "bilinear"}, {"size": 6, "mode": "bicubic", "align_corners": True},
     {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True}],
)  # fmt: skip
def test_forward_and_arguments_are_those_of_torch(options):
    x = torch.randn(2, 3, 5, 4)
    mine, theirs = n.Upsample(**options), torch.nn.Upsample(**options)
    torch.testing.assert_close(mine(x), theirs(x))
    assert isinstance(mine, torch.nn.Upsample)
    assert mine.extra_repr() == theirs.extra_repr()


@pytest.mark.parametrize(
    ("layer", "pattern"),
    [(n.Upsample(3, mode="bilinear"), "expected 2 axes of positions for mode 'bilinear'"),
     (n.Upsample(), "either size or scale_factor"),
     (n.Upsample(3, mode="nearest", align_corners=True), "align_corners")],
)  # fmt: skip
def test_bad_arguments_are_named(layer, pattern):
    with pytest.raises(ValueError, match=rf"1 \(Upsample\): .*{pattern}"):
        tt.ntk(Sequential(n.Conv1d(2, 3, 2), layer), torch.randn(2, 2, 5))


def test_channels_elsewhere_are_refused():
    with pytest.raises(tt.UnsupportedError, match=r"1 \(Upsample\): expected positions on axis 2"):
        tt.ntk(Sequential(n.Linear(5, 3), n.Upsample(3)), torch.randn(2, 2, 5))


def test_the_identity():
    """Corners aligned and no change of size: every position is itself."""
    x = torch.randn(2, 2, 5, dtype=torch.float64)
    layer = n.Conv1d(2, 3, 2)
    torch.testing.assert_close(
        tt.kernels(Sequential(layer, n.Upsample(4, mode="linear", align_corners=True)), x), tt.kernels(layer, x)
    )
