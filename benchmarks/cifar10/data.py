"""CIFAR-10 from an .npz file or the standard Python batches, and the training and test images of the experiment.

Krizhevsky 2009, Learning multiple layers of features from tiny images; https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLASSES = 10
SHAPE = (3, 32, 32)
BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


class Images(NamedTuple):
    """Pixels (N, 3, 32, 32) and labels (N,), both uint8, of the training and test part."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def drawn(self, train: int, test: int, seed: int = 0) -> Images:
        """So many of each at random, the training images in rounds.

        A round has one image of every class in random order, as long as no class runs out, so that every stretch of training
        images that begins and ends with a round has equally many of every class (as Arora et al. 2020, arXiv 1910.01663).
        Fewer images are the first of more.
        """
        for name, wanted, x in (("training", train, self.x_train), ("test", test, self.x_test)):
            if wanted > len(x):
                raise ValueError(f"expected at least {wanted} {name} images, the data have {len(x)}; ask for fewer")
        rng = np.random.default_rng(seed)
        chosen, tests = _rounds(self.y_train, rng)[:train], rng.permutation(len(self.x_test))[:test]
        return Images(self.x_train[chosen], self.y_train[chosen], self.x_test[tests], self.y_test[tests])

    def fingerprint(self) -> str:
        """A hash of pixels and labels, in their order."""
        digest = hashlib.sha256()
        for array in self:
            digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def _rounds(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of all samples: one of every class, another one of every class, and so on."""
    order = rng.permutation(len(labels))
    earlier = np.empty(len(labels), dtype=int)  # how many of its class come before each sample
    for label in range(CLASSES):
        of_class = np.flatnonzero(labels[order] == label)
        earlier[of_class] = np.arange(len(of_class))
    return order[np.argsort(earlier, kind="stable")]


def load(path: Path) -> Images:
    """The images of a file or folder.

    Args:
        path: an .npz with x_train, y_train, x_test, y_test (uint8, channels first), or the folder cifar-10-batches-py, or
            the folder that holds it.

    Raises:
        FileNotFoundError: there is neither. ValueError: arrays of another shape or type, labels out of range.
    """
    path = Path(path)
    if path.is_file():
        return _checked(_npz(path), path)
    for folder in (path, path / "cifar-10-batches-py"):
        if (folder / BATCHES[0]).is_file():
            return _checked(_batches(folder), folder)
    raise FileNotFoundError(f"{path}: expected an .npz file, or a folder with {BATCHES[0]} .. {BATCHES[-1]} and test_batch")


def _npz(path: Path) -> Images:
    with np.load(path) as data:
        missing = [name for name in ARRAYS if name not in data]
        if missing:
            raise ValueError(f"{path}: expected arrays {', '.join(ARRAYS)}, got {', '.join(data) or 'none'}")
        return Images(*(data[name] for name in ARRAYS))


def _batches(folder: Path) -> Images:
    missing = [name for name in (*BATCHES, "test_batch") if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder}: expected all five training batches and test_batch; missing: {', '.join(missing)}")
    train = [_batch(folder / name) for name in BATCHES]
    x, y = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Images(x, y, *_batch(folder / "test_batch"))


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        batch = _Arrays(file, encoding="bytes").load()
    try:
        rows, labels = batch[b"data"], batch[b"labels"]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected a dictionary with b'data' and b'labels', as the Python version of CIFAR-10"
        ) from error
    return np.asarray(rows).reshape(-1, *SHAPE), np.asarray(labels, dtype=np.uint8)  # a row is red, green, blue planes


class _Arrays(pickle.Unpickler):
    """Reads what pickled arrays are made of and nothing else: a pickle may otherwise run any code."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        modules = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs")
        if module_name in modules and global_name in ("ndarray", "dtype", "_reconstruct", "encode"):
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"expected arrays, lists and numbers, got {module_name}.{global_name}; refusing to load it")


def _checked(images: Images, path: Path) -> Images:
    for name, x in (("x_train", images.x_train), ("x_test", images.x_test)):
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != SHAPE:
            raise ValueError(f"{path}: {name}: expected uint8 of shape (N, 3, 32, 32), got {x.dtype} of shape {x.shape}")
    for name, y, x in (("y_train", images.y_train, images.x_train), ("y_test", images.y_test, images.x_test)):
        if y.shape != (len(x),) or y.dtype.kind not in "iu" or (len(y) and not 0 <= y.min() <= y.max() < CLASSES):
            raise ValueError(f"{path}: {name}: expected {len(x)} integers in 0 .. 9, got {y.dtype} of shape {y.shape}")
    return images
