"""`python -m benchmarks.solve --data cifar.npz`: conjugate gradients against Cholesky on a stored kernel of N images.

The NTK of a fully connected ReLU network of three layers, float32, in a zarr array; targets are one-hot less 0.1. Images come
from `--data`, a file of numpy with x_train, y_train, x_test, y_test, or from `--fashion`, a folder with Fashion-MNIST's four idx
files; where they are too few, mirror images are added, and equal ones are left out. Conjugate gradients run without a
preconditioner and with it, once with the tiles that fit held in memory and once reading every tile at every iteration.
Reported: seconds of the whole solve, iterations, the largest true residual of the right-hand sides, and the largest difference
of test predictions from Cholesky's, relative to the largest of those. The program fails where that is above 1e-4.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zarr
from torch import Tensor, nn

import torchtangents as tt
from torchtangents.scale.solution import Solution
from torchtangents.scale.solve import solve

from . import machine

RESULTS = Path(__file__).parent / "results" / "solve.json"
AGREEMENT = 1e-4
CHUNK = 1024


class Images(NamedTuple):
    """Images (N, C, H, W) of bytes, and labels (N,)."""

    x: np.ndarray
    labels: np.ndarray


def from_npz(path: Path) -> tuple[Images, Images]:
    """Training and test images of a file of numpy."""
    with np.load(path) as file:
        train, test = (Images(file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test"))
    return train, test


def from_idx(folder: Path) -> tuple[Images, Images]:
    """Training and test images of a folder of idx files, compressed or not, as MNIST's and Fashion-MNIST's."""

    def read(name: str) -> bytes:
        plain = folder / name
        return plain.read_bytes() if plain.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())

    def images(part: str) -> Images:
        x = np.frombuffer(read(f"{part}-images-idx3-ubyte"), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        return Images(x, np.frombuffer(read(f"{part}-labels-idx1-ubyte"), np.uint8, offset=8))

    return images("train"), images("t10k")


def distinct(images: Images, n: int) -> Images:
    """`n` different images, the mirror images after all the originals."""
    x = np.concatenate([images.x, images.x[..., ::-1]])
    labels = np.concatenate([images.labels, images.labels])
    first = np.unique(x.reshape(len(x), -1), axis=0, return_index=True)[1]
    kept = np.sort(first)[:n]
    if len(kept) < n:
        raise SystemExit(f"--n: expected at most {len(kept)}, the different images with their mirror images, got {n}")
    return Images(x[kept], labels[kept])


def standardised(train: Images, test: Images) -> tuple[Tensor, Tensor]:
    """Rows (N, D) in float32, less the training images' mean, in units of their standard deviation."""
    x, z = (torch.from_numpy(part.x.reshape(len(part.x), -1)).float() / 255 for part in (train, test))
    mean, std = x.mean(0), x.std()
    return (x - mean) / std, (z - mean) / std


def network(inputs: int) -> nn.Module:
    """Three layers with weights; widths do not matter to the kernel."""
    law = {"w_std": 2**0.5, "b_std": 0.1}
    return nn.Sequential(
        tt.nn.Linear(inputs, 8, **law), nn.ReLU(), tt.nn.Linear(8, 8, **law), nn.ReLU(), tt.nn.Linear(8, 1, **law)
    )


def stored(k: Tensor, path: Path) -> zarr.Array:
    """`k` as a zarr array of square chunks."""
    size = min(CHUNK, len(k))
    array = zarr.create_array(str(path), shape=tuple(k.shape), chunks=(size, size), dtype="f4")
    array[:] = k.numpy()
    return array


def timed(k: zarr.Array, y: Tensor, **options: Any) -> tuple[Solution, dict[str, Any]]:
    """A solution, and what it took."""
    start = time.perf_counter()
    found = solve(k, y, **options)
    seconds = time.perf_counter() - start
    return found, {"seconds": seconds, "iterations": found.iterations, "residual": found.residuals.max().item()}


def compare(k: zarr.Array, k_test: zarr.Array, y: Tensor, labels: np.ndarray, given: argparse.Namespace) -> dict[str, Any]:
    """One record for each method."""
    exact, record = timed(k, y, diag_reg=given.diag_reg, method="cholesky")
    means = exact.predict(k_test).double()
    accuracy = (means.argmax(1).numpy() == labels).mean().item()
    records = {"cholesky": record | {"accuracy": accuracy}}
    runs: dict[str, dict[str, Any]] = {}
    for rank in (0, *given.ranks):
        name = f"cg, preconditioner of rank {rank}" if rank else "cg"
        runs |= {
            name: {"preconditioner_rank": rank},
            f"{name}, tiles read every time": {"preconditioner_rank": rank, "memory": 1},
        }
    for name, options in runs.items():
        found, record = timed(
            k, y, diag_reg=given.diag_reg, method="cg", tolerance=given.tolerance, max_iterations=10_000, **options
        )
        difference = (found.predict(k_test).double() - means).abs().max() / means.abs().max()
        records[name] = record | {"difference": difference.item()}
    return records


def table(records: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| method | seconds | iterations | largest residual | predictions differ by |", "|---|---|---|---|---|"]
    for name, r in records.items():
        difference = f"{r['difference']:.1e}" if "difference" in r else "-"
        lines.append(f"| {name} | {r['seconds']:.1f} | {r['iterations'] or '-'} | {r['residual']:.1e} | {difference} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Solve, print the table, write JSON."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.solve", description=__doc__.splitlines()[0])
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path)
    source.add_argument("--fashion", type=Path)
    options.add_argument("--n", type=int, default=10_000)
    options.add_argument("--test", type=int, default=1000)
    options.add_argument("--diag-reg", type=float, default=1e-3)
    options.add_argument("--tolerance", type=float, default=1e-6)
    options.add_argument("--ranks", type=int, nargs="*", default=[100, 300])
    options.add_argument("--out", type=Path, default=RESULTS)
    given = options.parse_args(arguments)
    about = machine.describe()
    train, test = from_npz(given.data) if given.data else from_idx(given.fashion)
    train, test = distinct(train, given.n), Images(test.x[: given.test], test.labels[: given.test])
    x, x_test = standardised(train, test)
    y = nn.functional.one_hot(torch.from_numpy(train.labels).long()).float() - 0.1
    net = network(x.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        k, k_test = stored(tt.ntk(net, x), Path(folder) / "k"), stored(tt.ntk(net, x_test, x), Path(folder) / "t")
        seconds = time.perf_counter() - start
        records = compare(k, k_test, y, test.labels, given)
    print(table(records))
    versions = {"torch": torch.__version__, "numpy": np.__version__, "zarr": zarr.__version__}
    setting = {"n": given.n, "test": len(x_test), "diag_reg": given.diag_reg, "tolerance": given.tolerance}
    setting |= {"data": "fashion-mnist" if given.fashion else given.data.stem, "threads": torch.get_num_threads()}
    record = {"machine": about, "versions": versions, **setting, "kernel_seconds": seconds, "results": records}
    given.out.write_text(json.dumps(record, indent=1) + "\n")
    worst = max(r.get("difference", 0.0) for r in records.values())
    if worst > AGREEMENT:
        raise SystemExit(
            f"predictions of conjugate gradients differ from Cholesky's by {worst:.1e}, expected at most {AGREEMENT:g}"
        )


if __name__ == "__main__":
    main()
