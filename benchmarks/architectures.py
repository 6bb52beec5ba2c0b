"""Architectures written once, as data that every side translates to its own layers.

A network is a tuple of layers: ("conv", size, stride), padded so that the output has ceil(input / stride) positions and the
surplus of an odd padding comes last; ("relu",); ("avgpool", size), with the stride of its size; ("gap",); ("flatten",);
("dense",); ("residual", main, shortcut), the sum of two networks, where an empty one is the identity.
"""

from __future__ import annotations

import math

W_STD = math.sqrt(2)
B_STD = 0.1

Net = tuple[tuple, ...]

RELU, GAP, FLATTEN, DENSE = ("relu",), ("gap",), ("flatten",), ("dense",)


def conv(stride: int = 1) -> tuple:
    """A 3x3 convolution with zero padding."""
    return ("conv", 3, stride)


def pool(size: int = 2) -> tuple:
    """Averages over squares that do not overlap."""
    return ("avgpool", size)


def fully_connected(depth: int) -> Net:
    """`depth` hidden ReLU layers."""
    return (DENSE, RELU) * depth + (DENSE,)


def cnn(depth: int, readout: tuple) -> Net:
    """A chain of convolutions, read out by GAP or FLATTEN."""
    return (conv(), RELU) * depth + (readout, DENSE)


def two_pools() -> Net:
    """Two convolutions, each pooled, read out position by position."""
    return (conv(), RELU, pool()) * 2 + (FLATTEN, DENSE)


def pooled_cnn() -> Net:
    """Five convolutions with a pool after the second and the fourth, read out position by position."""
    two = (conv(), RELU) * 2 + (pool(),)
    return two * 2 + (conv(), RELU, FLATTEN, DENSE)


def myrtle(depth: int, side: int = 32) -> Net:
    """The network of Shankar et al. 2020 (arXiv 2003.02237): three stages, pooled to one position."""
    stages = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}[depth]
    layers: Net = ()
    for convolutions in stages:
        layers += (conv(), RELU) * convolutions + (pool(),)
    last = side // 8
    return layers + (pool(),) * (last.bit_length() - 1) + (FLATTEN, DENSE)


def wide_resnet(blocks: int, side: int = 32) -> Net:
    """Three groups of pre-activation blocks with strides 1, 2, 2 (Zagoruyko and Komodakis 2016, arXiv 1605.07146).

    The first block of each group has a convolution as its shortcut, as in neural-tangents' README.
    """
    layers: Net = (conv(),)
    for stride in (1, 2, 2):
        layers += (_block(stride, (conv(stride),)),) + (_block(1, ()),) * (blocks - 1)
    return (*layers, pool(side // 4), FLATTEN, DENSE)


def _block(stride: int, shortcut: Net) -> tuple:
    return ("residual", (RELU, conv(stride), RELU, conv()), shortcut)


def kinds(net: Net) -> set[str]:
    """The kinds of layer that a network has, also inside residual blocks."""
    found = set()
    for kind, *arguments in net:
        found |= {kind}.union(*(kinds(branch) for branch in arguments)) if kind == "residual" else {kind}
    return found
