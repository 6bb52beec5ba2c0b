"""Finite networks of the layers of `cases_layers`: with one hidden layer the expected empirical kernels are exact."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn import Flatten, Sequential

import torchtangents as tt

from ..cases_layers import Apply, Mix
from .test_monte_carlo import STANDARD, check, conv, head

n = tt.nn


class Halves(torch.nn.Module):
    """Each half of the channels through a layer of its own."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b = conv(), n.Linear(5, 1, w_std=1.2), n.Linear(3, 1, b_std=0.5)

    def forward(self, x):
        a, b = self.stem(x).split([5, 3], 1)
        return self.a(F.relu(a).mean((2, 3))) + self.b(b[:, :, 0, ::2].mean(-1))


def up(**options):
    return n.ConvTranspose2d(2, 8, **{"kernel_size": 3, "stride": 2, "padding": 1, "w_std": 1.3, "b_std": 0.4, **options})


def local(**options):
    return n.LocalConv2d(2, 8, 3, input_size=(4, 5), **{"padding": 1, "w_std": 1.3, "b_std": 0.4, **options})


NETS = {
    "transposed": lambda: Sequential(up(), n.ReLU(), n.GlobalAvgPool(), head(8)),
    "transposed-dilated": lambda: Sequential(up(dilation=(2, 1), output_padding=1), n.Erf(), Flatten(), head(8 * 10 * 10)),
    "transposed-standard": lambda: Sequential(up(**STANDARD), n.ReLU(), n.GlobalSumPool(), head(8, parameterization="standard")),
    "local": lambda: Sequential(local(), n.ReLU(), n.GlobalAvgPool(), head(8)),
    "local-standard": lambda: Sequential(local(**STANDARD, stride=2), n.GELU(), n.GlobalAvgPool(), head(8, parameterization="standard")),
    "upsample": lambda: Sequential(conv(), n.Upsample((7, 3), mode="bilinear"), n.ReLU(), n.GlobalAvgPool(), head(8)),
    "nearest": lambda: Sequential(conv(), n.ReLU(), n.Upsample((7, 3)), n.AvgPool2d(3), Flatten(), head(16)),
    "adaptive": lambda: Sequential(conv(), n.ReLU(), n.AdaptiveAvgPool2d((3, 4)), Flatten(), head(96)),
    "reflect": lambda: Sequential(conv(padding_mode="reflect", padding=2), n.ReLU(), n.ReplicationPad2d((2, 0, 0, 1)), n.AvgPool2d(3), Flatten(), head(48)),
    "matrix": lambda: Sequential(conv(), Mix(3, 5, signed=True), n.ReLU(), n.GlobalAvgPool(), head(8)),
    "index": lambda: Sequential(conv(), Apply(lambda x: x[:, :, [3, 0], 1:].flip(3)), n.ReLU(), Apply(lambda x: x[..., -1]), Flatten(), head(16)),
    "channels": Halves,
    "channels-added": lambda: Sequential(conv(), Apply(lambda x: sum(x.chunk(2, 1))), n.ReLU(), n.GlobalAvgPool(), head(4)),
    "volume": lambda: Sequential(Apply(lambda x: x.unflatten(2, (2, 2))), n.Conv3d(2, 8, 2, padding=1), n.ReLU(), n.AvgPool3d(2), Flatten(), head(24)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_expected_kernels_of_finite_networks(name):
    check(NETS[name](), torch.randn(3, 2, 4, 5), 1500)
