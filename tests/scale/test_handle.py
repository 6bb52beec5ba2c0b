"""What a handle shows and reads."""

import numpy as np
import pytest
import torch

import torchtangents as tt
from tests.scale.conftest import fully_connected


@pytest.fixture
def handle(compute):
    return compute(fully_connected(), torch.randn(20, 5), tile=8, kinds=("ntk",))


def test_parts(handle):
    whole = torch.from_numpy(handle.ntk[:])
    places = [3, 1, 17]
    for rows, columns in (
        (slice(2, 9), slice(None)),
        (places, slice(4, 5)),
        (np.array(places), places),
        (torch.tensor(places), [0, 19]),
    ):
        expected = whole[rows][:, columns]
        assert torch.equal(handle.torch(rows, columns), expected)


def test_it_is_read_only(handle):
    with pytest.raises(ValueError, match="read-only"):
        handle.ntk[0, 0] = 1.0


def test_another_kind_is_named(handle):
    for ask in (lambda: handle.nngp, lambda: handle.torch(kind="nngp"), lambda: handle.dask("both")):
        with pytest.raises(ValueError, match=r"expected one of 'ntk', which .* holds"):
            ask()


def test_how_it_looks(handle):
    assert "ntk of Sequential, 20 x 20 float32, symmetric, 6 tiles of 8, 2.3 KB, 100.0% computed" in repr(handle)
    assert "<th>computed</th><td>100.0%</td>" in handle._repr_html_()


def test_opened(handle):
    opened = tt.scale.open(str(handle.path))
    for name in ("shape", "dtype", "kinds", "tile", "symmetric", "path", "complete", "progress", "attributes", "records"):
        assert getattr(opened, name) == getattr(handle, name)


def test_delete(handle):
    handle.delete()
    assert not handle.path.exists()


@pytest.mark.parametrize(("size", "words"), [(12, "12 bytes"), (1200, "1.2 KB"), (3.4e9, "3.4 GB"), (5e15, "5,000.0 TB")])
def test_sizes_in_words(size, words):
    assert tt.scale.handle.sized(size) == words
