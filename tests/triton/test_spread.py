"""Lines of planes that add to pools of two: no two of a launch add to one pooled plane, and every pooled plane begins once."""

import numpy as np
import pytest
import torch

from torchtangents.covariance.rows import Rows
from torchtangents.engine import tables

pytest.importorskip("triton")
from torchtangents.triton.cells import Cells
from torchtangents.triton.packing import Layout, Packed
from torchtangents.triton.reduction import Gathered
from torchtangents.triton.spread import NOWHERE, Spread

SIZES = [(20, 12), (12, 20), (24, 16), (16, 16), (32, 32)]
DEVICE = torch.device("cpu")


def pools(size, weights, stride):
    """Weighted windows along an axis."""
    width = len(weights)
    return Rows(([(start + i, w) for i, w in enumerate(weights)] for start in range(0, size - width + 1, stride)), size)


def gathered(size, without=1, weights=(0.5, 0.5), stride=2):
    """A reduction from planes of a size, but those near the diagonal, and what it adds to."""
    every = [range(1 - n, n) for n in size]
    planes = [(a, b) for a in every[0] for b in every[1] if max(abs(a), abs(b)) > without]
    rows = [pools(n, weights, stride) for n in size]
    wanted = [list(range(1 - r.size, r.size)) for r in rows]
    found = [tables._rows(r, r, tuple(have), tuple(w), n) for r, have, w, n in zip(rows, every, wanted, size, strict=True)]
    half = tuple(r.size for r in rows)
    target = Packed(Layout.of(half), [(a, b) for a in wanted[0] for b in wanted[1]], DEVICE)
    source = Packed(Layout.of(size), planes, DEVICE)
    cells = Cells(tuple(planes), (size, size), DEVICE)
    return Gathered(found, wanted, cells, Cells(tuple(target.planes), (half, half), DEVICE), source), target


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_lines_of_a_launch_have_no_pooled_plane_in_common(size):
    given, target = gathered(size)
    spread = Spread.of(given, target, given.source.planes)
    assert spread.weight == 1 / 16
    begun, met = set(), set()
    for launch in spread.launches:
        owner = {}
        table = spread.table[launch.begin : launch.begin + launch.count * launch.planes].view(launch.count, launch.planes, -1)
        for line, entries in enumerate(table.tolist()):
            for position, (which, dy, dx, _, *codes) in enumerate(entries):
                pooled = [code >> 4 for code in codes if code != NOWHERE]
                assert all(owner.setdefault(p, line) == line for p in pooled)
                if not pooled:
                    continue
                assert dy % 2 == launch.odd
                assert (dx % 2 == 0) == (position < launch.evens)
                if dy % 2 == dx % 2 == 0:
                    assert not begun.intersection(pooled)
                    begun.update(pooled)
                if any(code & 15 for code in codes):
                    met.add(which)
                    assert spread.source.residues[which] == (dy, dx)
    assert begun == set(range(target.count))
    assert met == set(range(spread.source.count))


def test_what_is_added_is_the_reduction():
    size = (20, 12)
    given, target = gathered(size)
    spread = Spread.of(given, target, given.source.planes)
    value = torch.randn(spread.source.count, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine = torch.zeros(target.count, *target.layout.size, dtype=torch.float64)
    for which, dy, dx, _, *codes in spread.table.tolist():
        for y, x in np.ndindex(size):
            plane = 2 * (y + dy >= size[0]) + (x + dx >= size[1])
            code = codes[2 * (dy % 2 and y % 2) + (dx % 2 and x % 2)]
            if code & 1 << plane:
                mine[code >> 4, y // 2, x // 2] += spread.weight * value[which, y, x]
    exact = torch.zeros_like(mine)
    (h, w), (h2, w2) = size, target.layout.size
    for a, b in given.source.planes:
        for y in range(max(0, -a), min(h, h - a)):
            for x in range(max(0, -b), min(w, w - b)):
                d = (y + a) // 2 - y // 2, (x + b) // 2 - x // 2
                exact[target.index[d[0] % h2, d[1] % w2], y // 2, x // 2] += value[spread.source.index[a % h, b % w], y, x] / 16
    torch.testing.assert_close(mine, exact)


@pytest.mark.parametrize(
    ("weights", "stride"), [((0.4, 0.6), 2), ((0.25, 0.5, 0.25), 2), ((0.5, 0.5), 1), ((0.25,) * 4, 4)], ids=str
)
def test_other_pools_are_not_spread(weights, stride):
    given, target = gathered((16, 16), weights=weights, stride=stride)
    assert Spread.of(given, target, given.source.planes) is None
