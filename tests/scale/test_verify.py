"""Damage of every kind is found, told, and repaired; nobody reads it as numbers."""

import random

import numpy as np
import pytest
import torch
import zarr

import torchtangents as tt
from tests.scale.conftest import fully_connected, tiles
from torchtangents.scale.chunks import chunk_path, write_chunk


@pytest.fixture
def stored(compute):
    x = torch.randn(40, 5)
    return compute(fully_connected(), x, tile=4), x


def flip(path, rng):
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


def flipped(handle, count):
    """Flip one bit in each of some tiles; which they are."""
    rng = random.Random(1)
    places = rng.sample(list(handle.store.grid.places()), count)
    for place in places:
        flip(chunk_path(handle.path, rng.choice(handle.kinds), rng.choice(handle.store.grid.stored(place))), rng)
    return sorted(places)


def test_twenty_flipped_bytes_are_found_and_repaired(stored, compute):
    handle, x = stored
    before = {kind: handle.torch(kind=kind) for kind in handle.kinds}
    assert handle.verify() == []
    for repair in (lambda: handle.verify(repair=True), lambda: compute(fully_connected(), x)):
        places, count = flipped(handle, 20), len(tiles(handle))
        found = handle.verify()
        assert [d.tile for d in found] == places
        assert all("checksum differs" in d.reason for d in found)
        with pytest.raises(ValueError, match="checksum"):
            handle.ntk[:] + handle.nngp[:]
        repair()
        assert tiles(handle)[count:] == places
        assert handle.verify() == []
        assert all(torch.equal(handle.torch(kind=kind), before[kind]) for kind in handle.kinds)


DAMAGE = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:30]), "truncated: 30 of 68 bytes"),
    "emptied": (lambda p: p.write_bytes(b""), "truncated: 0 of 68 bytes"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() * 2), "136 bytes, expected 68"),
    "removed": (lambda p: p.unlink(), "missing"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "cannot be read"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_other_damage(stored, compute, kind):
    handle, x = stored
    damage, words = DAMAGE[kind]
    damage(chunk_path(handle.path, "ntk", (1, 3)))
    (found,) = handle.verify()
    assert found.tile == (1, 3)
    assert f"ntk/c/1/3: {words}" in found.reason
    if kind != "a folder":
        assert compute(fully_connected(), x).verify() == []


def test_tiles_that_changed_places(stored):
    handle, _ = stored
    one, two = (chunk_path(handle.path, "ntk", p) for p in ((1, 3), (2, 3)))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert [d.tile for d in handle.verify()] == [(1, 3), (2, 3)]
    assert "is not its mirror image" in handle.verify()[0].reason


def test_entries_that_were_not_computed(stored):
    """A worker of an earlier call may write a tile of the size that the kernel had then."""
    handle, _ = stored
    write_chunk(chunk_path(handle.path, "ntk", (9, 9)), np.ones((3, 3), np.float32), 4, handle.store.side)
    (found,) = handle.verify()
    assert "not computed" in found.reason


def test_a_damaged_tile_is_no_number(stored):
    handle, _ = stored
    chunk_path(handle.path, "ntk", (0, 1)).write_bytes(b"0" * 68)
    with pytest.raises(ValueError, match=r"a tile is damaged .*verify\(\) finds it, compute makes it again"):
        handle.torch(slice(0, 4))
    assert handle.torch(slice(8, 12)).shape == (4, 40)
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(str(handle.path / "ntk"), mode="r")[:4]


def test_repair_needs_a_model(stored):
    handle, _ = stored
    opened = tt.scale.open(handle.path)
    assert opened.verify() == []
    with pytest.raises(ValueError, match="repair needs the model"):
        opened.verify(repair=True)
