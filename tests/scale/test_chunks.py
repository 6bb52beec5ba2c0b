"""Files of tiles: what zarr reads is what was written; every kind of damage has its words; a write is whole or not there."""

import errno
import os

import numpy as np
import pytest

from torchtangents.scale import chunks


@pytest.fixture
def written(tmp_path):
    path, values = tmp_path / "c" / "0" / "1", np.arange(6, dtype=np.float32).reshape(2, 3)
    chunks.write_chunk(path, values, 4, tmp_path)
    return path, values


def test_read_what_was_written(written):
    path, values = written
    found, reason = chunks.read_chunk(path, 4, np.dtype("float32"))
    assert not reason
    np.testing.assert_array_equal(found[:2, :3], values)
    assert np.isnan(found[2:]).all()
    assert os.listdir(path.parents[2]) == ["c"]  # nothing is left beside it


@pytest.mark.parametrize(("damage", "words"), [
    (lambda raw: raw[:-1], "truncated"), (lambda raw: b"", "truncated"), (lambda raw: raw + b"0", "bytes, expected"),
    (lambda raw: raw[:5] + bytes([raw[5] ^ 1]) + raw[6:], "checksum"), (lambda raw: raw[:-1] + bytes([raw[-1] ^ 128]), "checksum"),
])  # fmt: skip
def test_damage_has_words(written, damage, words):
    path, _ = written
    path.write_bytes(damage(path.read_bytes()))
    found, reason = chunks.read_chunk(path, 4, np.dtype("float32"))
    assert found is None
    assert words in reason


def test_missing(tmp_path):
    assert chunks.read_chunk(tmp_path / "0", 4, np.dtype("float64")) == (None, "missing")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(written, monkeypatch, call):
    path, values = written
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"the disk is full: .*Make space and call compute again") as caught:
        chunks.write_chunk(path, values + 1, 4, path.parents[2])
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert os.listdir(path.parents[2]) == ["c"]
