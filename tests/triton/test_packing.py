"""Packed planes: every position of every plane has one place, and tables repeat positions where lanes reach over."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
from torchtangents.triton.packing import Layout, Packed

SIZES = [(1, 1), (1, 7), (2, 2), (5, 3), (8, 8), (14, 14), (12, 20), (28, 28), (32, 32)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_lanes_and_tiles_cover_a_plane(size):
    layout = Layout.of(size)
    lanes, tile = layout.lanes, layout.tile
    assert (lanes[0] * tile[0], lanes[1] * tile[1]) == size
    assert lanes[0] * lanes[1] <= layout.width <= 32
    assert tile[0] * tile[1] <= 32
    assert sorted(layout.places) == list(range(size[0] * size[1]))


@pytest.mark.parametrize("size", [(33, 32), (31, 37), (64, 64)], ids=str)
def test_a_plane_that_a_warp_cannot_hold_has_no_layout(size):
    assert Layout.of(size) is None


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_displaced_plane_lies_in_a_table_at_a_constant_distance(size, wide):
    layout = Layout.of(size, wide)
    (h, w), (r, c), (ly, lx), v = size, layout.tile, layout.lanes, layout.vector
    own, turned = layout.own.reshape(r, c // v, ly, lx, v), layout.turned.reshape(-1, 2 * r, c // v * (1 + (v == 1)), ly, lx, v)
    place = {p: i for i, p in enumerate(np.argsort(layout.places))}
    for dy, dx in [(0, 0), (h - 1, w - 1), (h // 2, w // 3), (min(1, h - 1), 0)]:
        shift, more = (dx % c, 0) if v > 1 else (0, dx % c)
        for p, at in place.items():
            y, x = divmod(int(p), w)
            element, lane = divmod(at, ly * lx)
            row, column = divmod(element, c)
            assert own[row, column // v, lane // lx, lane % lx, column % v] == p
            there = (lane // lx + dy // r) % ly, (lane % lx + dx // c) % lx
            column += more
            assert turned[(shift, row + dy % r, column // v, *there, column % v)] == (y + dy) % h * w + (x + dx) % w


def test_planes_that_differ_by_the_size_share_one():
    packed = Packed(Layout.of((4, 6)), [(0, 0), (1, 2), (-3, 2), (1, -4), (3, 0), (-4, 0)], torch.device("cpu"))
    assert set(packed.residues) == {(0, 0), (1, 2), (3, 0)}  # four rows away nothing is left
    assert not packed.whole
    box = [(a, b) for a in range(-3, 4) for b in range(-5, 6)]
    assert Packed(Layout.of((4, 6)), box, torch.device("cpu")).whole
    assert packed.lookup[1, 2] == packed.index[1, 2]
    assert packed.lookup[2, 2] == -1
