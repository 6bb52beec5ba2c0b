"""The networks of the experiment, and what a pair of images costs."""

from __future__ import annotations

from typing import NamedTuple

from torch.nn import Module

from .. import architectures, networks
from ..architectures import FLATTEN, GAP, Net
from .data import SHAPE


class Model(NamedTuple):
    """A network and its cost.

    milliseconds: a pair of images, NNGP and NTK, float32, on two cores; it decides the order of work.
    largest: training images for which a few hours on a CPU are enough; a GPU computes any number.
    """

    label: str
    net: Net
    milliseconds: float
    largest: int

    def build(self) -> Module:
        """The network, of any width."""
        return networks.build(self.net, SHAPE)


MODELS = {
    "fc": Model("FC, 3 hidden layers", (FLATTEN, *architectures.fully_connected(3)), 3e-5, 5000),
    "cnn-flatten": Model("CNN-5, flatten", architectures.cnn(5, FLATTEN), 2e-3, 5000),
    "cnn21-flatten": Model("CNN-21, flatten", architectures.cnn(21, FLATTEN), 5e-3, 5000),
    "cnn-pools": Model("CNN-5, two pools, flatten", architectures.pooled_cnn(), 0.086, 5000),
    "wide-resnet": Model("WideResNet, n = 1", architectures.wide_resnet(1), 0.09, 5000),
    "wide-resnet4": Model("WideResNet, n = 4", architectures.wide_resnet(4), 0.3, 1000),
    "myrtle5": Model("Myrtle-5", architectures.myrtle(5), 0.75, 1000),
    "myrtle7": Model("Myrtle-7", architectures.myrtle(7), 0.8, 1000),
    "myrtle10": Model("Myrtle-10", architectures.myrtle(10), 0.9, 1000),
    "cnn-pool": Model("CNN-5, global pool", architectures.cnn(5, GAP), 1.0, 5000),
}
