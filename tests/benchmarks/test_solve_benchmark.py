"""The benchmark of solves: its images, and all methods on a few of them."""

import gzip
import json

import numpy as np
import pytest

pytest.importorskip("zarr")
from benchmarks.solve import Images, distinct, from_idx, main


@pytest.fixture
def images(tmp_path):
    draw = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    x, labels = draw.integers(0, 256, (60, 1, 4, 4), np.uint8), draw.integers(0, 3, 60)
    labels[:3] = 0, 1, 2
    np.savez(path, x_train=x[:40], y_train=labels[:40], x_test=x[40:], y_test=labels[40:])
    return path


def test_images_are_distinct_and_mirrored_where_they_are_few():
    x = np.zeros((3, 1, 2, 2), np.uint8)
    x[0, 0, 0, 0] = 1  # its mirror image differs; the other two are equal, and to their mirror images
    kept = distinct(Images(x, np.array([5, 6, 7])), 3)
    assert kept.labels.tolist() == [5, 6, 5]
    assert (kept.x[2] == x[0, ..., ::-1]).all()
    with pytest.raises(SystemExit, match=r"--n: expected at most 3, .* got 4"):
        distinct(Images(x, np.array([5, 6, 7])), 4)


def test_idx_files(tmp_path):
    x, labels = np.arange(2 * 28 * 28, dtype=np.uint8), np.array([3, 4], np.uint8)
    for part, compressed in (("train", True), ("t10k", False)):
        for name, head, body in ((f"{part}-images-idx3-ubyte", 16, x), (f"{part}-labels-idx1-ubyte", 8, labels)):
            content = bytes(head) + body.tobytes()
            path = tmp_path / (f"{name}.gz" if compressed else name)
            path.write_bytes(gzip.compress(content) if compressed else content)
    for part in from_idx(tmp_path):
        assert (part.x == x.reshape(2, 1, 28, 28)).all()
        assert part.labels.tolist() == [3, 4]


def test_all_methods_agree(images, tmp_path, capsys):
    out = tmp_path / "out.json"
    main(["--data", str(images), "--n", "70", "--test", "15", "--ranks", "20", "--out", str(out)])
    record = json.loads(out.read_text())
    assert (record["n"], record["test"], record["data"]) == (70, 15, "images")
    assert len(record["results"]) == 5
    assert all(r["residual"] <= 1e-6 for r in record["results"].values())
    assert all(r["difference"] < 1e-4 for name, r in record["results"].items() if name != "cholesky")
    assert "| cg, preconditioner of rank 20 |" in capsys.readouterr().out
