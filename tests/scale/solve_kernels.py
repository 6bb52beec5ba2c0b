"""Kernels to solve, and what may hold them: one table for every test of `tt.scale.solve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import torchtangents as tt

TILE = 64


class Problem(NamedTuple):
    """Training kernel (N, N), test kernel (M, N) and targets (N, 3)."""

    train: Tensor
    test: Tensor
    y: Tensor


def random(dtype: torch.dtype, points: int = 150, test: int = 41) -> Problem:
    """A Laplace kernel, whose eigenvalues fall slowly, of points in five dimensions; scaled, so that its mean is not 1."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(points + test, 5, generator=draw, dtype=torch.float64)
    scale = 1 + x[:, 0].abs()
    k = (scale[:, None] * torch.exp(-(x[:, None] - x).norm(dim=-1) / 3) * scale).to(dtype)
    y = torch.randn(points, 3, generator=draw, dtype=torch.float64).to(dtype)
    return Problem(k[:points, :points], k[points:, :points], y)


def skewed(dtype: torch.dtype) -> Problem:
    """The same with rounding above the diagonal, as a product of matrices has; `predict` takes the mean of both triangles."""
    train, test, y = random(dtype)
    noise = torch.randn(train.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return Problem(train + (noise.triu(1) * 20 * torch.finfo(dtype).eps).to(dtype), test, y)


def digits(dtype: torch.dtype, points: int = 230, test: int = 50) -> Problem:
    """The NTK of a fully connected ReLU network of three layers on scikit-learn's digits; targets are one-hot less their mean."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images[: points + test], dtype=dtype) / 16
    y = nn.functional.one_hot(torch.tensor(labels[:points]), 10).to(dtype)
    net = nn.Sequential(
        tt.nn.Linear(64, 8, w_std=1.5), nn.ReLU(), tt.nn.Linear(8, 8, w_std=1.5), nn.ReLU(), tt.nn.Linear(8, 1, w_std=1.5)
    )
    return Problem(tt.ntk(net, x[:points]), tt.ntk(net, x[points:], x[:points]), y - y.mean(0))


KERNELS: dict[str, Callable[[], Problem]] = {
    "random float64": lambda: random(torch.float64),
    "random float32": lambda: random(torch.float32),
    "skewed float32": lambda: skewed(torch.float32),
    "digits float64": lambda: digits(torch.float64),
    "digits float32": lambda: digits(torch.float32),
}


def zarr_array(k: Tensor, path: Path, chunks: tuple[int, int]) -> Any:
    """`k` as a zarr array."""
    import zarr

    array = zarr.create_array(str(path), shape=tuple(k.shape), chunks=chunks, dtype=k.numpy().dtype)
    array[:] = k.numpy()
    return array


def handle(k: Tensor, path: Path, chunk: int = 50, **changes: Any) -> Any:
    """What `tt.scale.compute` returns, as far as a solve sees it."""
    array = zarr_array(k, path, (chunk, chunk))
    given = {
        "ntk": array,
        "kinds": ("ntk",),
        "symmetric": k.shape[0] == k.shape[1],
        "complete": True,
        "progress": 1.0,
        "path": path,
        "shape": array.shape,
        "dtype": array.dtype,
        "tile": chunk,
    }
    return SimpleNamespace(**given | changes)


def mapped(k: Tensor, path: Path) -> np.ndarray:
    """`k` as a read-only numpy memmap of the other byte order."""
    values = k.numpy()
    np.save(path, values.astype(values.dtype.newbyteorder()))
    return np.load(path, mmap_mode="r")


def lazily(k: Tensor, chunks: Any) -> Any:
    """`k` as a dask array."""
    import dask.array

    return dask.array.from_array(k.numpy(), chunks=chunks)


HOLDERS: dict[str, Callable[[Tensor, Path], Any]] = {
    "torch": lambda k, path: k,
    "numpy": lambda k, path: k.numpy(),
    "memmap": lambda k, path: mapped(k, path / "k.npy"),
    "zarr": lambda k, path: zarr_array(k, path / "k.zarr", (TILE, TILE)),
    "zarr, oblong chunks": lambda k, path: zarr_array(k, path / "oblong.zarr", (37, 64)),
    "dask": lambda k, path: lazily(k, (70, 70)),
    "dask, ragged chunks": lambda k, path: lazily(k, ((100, len(k) - 100), (k.shape[1] - 20, 20))),
}
