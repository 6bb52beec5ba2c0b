"""Inputs of every kind are the same numbers, read by slices, here and in other processes."""

import pickle

import numpy as np
import pytest
import torch
import zarr

from torchtangents.scale.inputs import Data

X = np.random.default_rng(0).standard_normal((50, 3, 4)).astype(np.float32)


def memmap(folder, values=X):
    path = folder / "x.npy"
    np.save(path, values)
    return np.load(path, mmap_mode="r")


KINDS = {
    "tensor": lambda folder: torch.from_numpy(X),
    "array": lambda folder: X,
    "fortran": lambda folder: np.asfortranarray(X),
    "big endian": lambda folder: X.astype(">f4"),
    "memmap": memmap,
    "part of a memmap": lambda folder: memmap(folder, np.concatenate([X[:5] + 1, X, X[:3]]))[5:55],
    "every other row of a memmap": lambda folder: memmap(folder, np.repeat(X, 2, 0))[::2],
    "zarr": lambda folder: zarr.create_array(str(folder / "x.zarr"), data=X, chunks=(7, 3, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("torchtangents.scale.inputs._BLOCK", 1000)  # several blocks
    data, expected = Data(KINDS[kind](tmp_path), "x1"), Data(X, "x1")
    assert data.kinds() == expected.kinds() == [{"dtype": "float32", "shape": [3, 4]}]
    assert data.digest(30) == expected.digest(30)
    assert expected.digest(30)[1] == Data(X[:30], "x1").digest()[0] != expected.digest()[0]
    (tmp_path / "sent").mkdir()
    sent = pickle.dumps(data.portable(tmp_path / "sent"))
    assert len(sent) < 2000  # the numbers are in a file
    for found in (data, pickle.loads(sent)):
        torch.testing.assert_close(found.rows(slice(11, 33)), torch.from_numpy(X[11:33]), rtol=0, atol=0)


def test_files_are_not_copied(tmp_path):
    Data(memmap(tmp_path), "x1").portable(tmp_path / "not there")


def test_tuples(tmp_path):
    data = Data((X, torch.arange(50)), "x1")
    assert data.row_bytes == 48 + 8
    first, second = data.portable(tmp_path).rows(slice(2, 4))
    assert second.tolist() == [2, 3]
    assert torch.equal(first, torch.from_numpy(X[2:4]))


def test_only_slices_are_read():
    class Rows:
        shape, dtype = (10**6, 2), np.dtype("float32")

        def __getitem__(self, rows):
            assert rows.stop - rows.start <= 10
            return np.zeros((rows.stop - rows.start, 2), np.float32)

    assert Data(Rows(), "x1").rows(slice(10**6 - 10, 10**6)).shape == (10, 2)


@pytest.mark.parametrize(("x", "error", "words"), [
    ([], ValueError, "at least one array"), ("text", TypeError, "got str"), ((X, "text"), TypeError, r"x1\[1\].*got str"),
    (np.float32(1), ValueError, "inputs on axis 0"), (X[:0], ValueError, "at least one"), ((X, X[1:]), ValueError, "expected 50 inputs"),
])  # fmt: skip
def test_refusals(x, error, words):
    with pytest.raises(error, match=words):
        Data(x, "x1")


def test_not_finite_is_found_with_its_place():
    x = X.copy()
    x[40, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"x1: expected finite numbers, got nan at index \(40, 1, 2\)"):
        Data(x, "x1").digest()
