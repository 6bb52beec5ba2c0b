"""Tiles cover a kernel once, and what growth cuts off is found."""

import numpy as np
import pytest

from torchtangents.scale.grid import Grid

GRIDS = [
    Grid((n1, n2), tile, symmetric)
    for n1 in (1, 7, 8, 20)
    for n2 in (1, 8, 13)
    for tile in (1, 4, 5, 32)
    for symmetric in (False,)
]
GRIDS += [Grid((n, n), tile, True) for n in (1, 7, 8, 20) for tile in (1, 4, 5, 32)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_entry_is_stored_once(grid):
    seen = np.zeros(grid.shape, int)
    for place in grid.places():
        for stored in grid.stored(place):
            seen[grid.slices(stored)] += 1
    assert (seen == 1).all()
    assert grid.count == len(list(grid.places()))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("old", "new"), [(8, 12), (7, 8), (7, 20), (3, 4)])
def test_growth_cuts_off_ragged_tiles_only(symmetric, old, new):
    grid, longer = Grid((old, old), 4, symmetric), Grid((new, new), 4, symmetric)
    changed = [p for p in grid.places() if grid.slices(p) != longer.slices(p)]
    assert list(grid.ragged(longer.shape)) == changed
