"""One stored kernel a model: a folder of blocks between parts of the images, each a store of `tt.scale.compute`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module

from torchtangents import scale

from .plan import Plan

KINDS = ("nngp", "ntk")


class Work(NamedTuple):
    """Entries computed, and the processor's seconds on all cores that they took, NNGP and NTK in one pass.

    A block that an earlier run began counts as a whole, with the seconds of what was missing. The time on the wall is no
    measure: a run of hours shares its machine.
    """

    pairs: int = 0
    cpu_seconds: float = 0.0


class StoredKernel:
    """The kernel of training images with themselves and with the test images; what is missing is computed when it is read.

    Args:
        net: the network.
        x: training images (N, C, H, W) in the plan's order, as the network sees them.
        x_test: test images (M, C, H, W).
        folder: of this model and these images; a block is a Zarr store in it, and a block begun is continued.
        plan: the parts between which blocks lie.
        devices: as in `tt.scale.compute`.

    Raises:
        ValueError: as `tt.scale.compute`, where a block belongs to other images or another network.
    """

    def __init__(self, net: Module, x: Tensor, x_test: Tensor, folder: Path, plan: Plan, devices: Any = None):
        self.net, self.x, self.x_test, self.folder, self.plan = net, x, x_test, folder, plan
        self.devices, self.work = devices, Work()
        self.handles: dict[Path, scale.Handle] = {}

    def train(self, images: slice, kind: str) -> Tensor:
        """(n, n) of a stretch of the training images."""
        parts = self.plan.touched(images)
        rows = [torch.cat([self._block(a, b, kind) for b in parts], 1) for a in parts]
        return _cut(torch.cat(rows), images, parts, both=True)

    def test(self, images: slice, kind: str) -> Tensor:
        """(M, n) of the test images and a stretch of the training images."""
        parts = self.plan.touched(images)
        return _cut(torch.cat([self._read(part, None, kind) for part in parts]), images, parts).mT

    def _block(self, a: slice, b: slice, kind: str) -> Tensor:
        return self._read(a, b, kind) if a.start <= b.start else self._read(b, a, kind).mT

    def _read(self, a: slice, b: slice | None, kind: str) -> Tensor:
        """The block between part `a` and part `b`, or the test images where b is None."""
        path = self.folder / f"{a.start:05d}-{'test' if b is None else f'{b.start:05d}'}.zarr"
        x1 = self.x[a]
        x2 = self.x_test if b is None else None if a == b else self.x[b]
        if path not in self.handles:  # checked once a run: that it is of this network and these images, and complete
            old = path.exists() and scale.open(path).complete
            began = time.process_time()
            self.handles[path] = scale.compute(self.net, x1, x2, path, KINDS, devices=self.devices, progress=False)
            n = 0 if old else len(x1)
            pairs = n * (n + 1) // 2 if x2 is None else n * len(x2)
            seconds = 0.0 if old else time.process_time() - began
            self.work = Work(self.work.pairs + pairs, self.work.cpu_seconds + seconds)
        return self.handles[path].torch(kind=kind)


def _cut(k: Tensor, images: slice, parts: list[slice], both: bool = False) -> Tensor:
    """The rows (and columns) of `images` alone, where `k` has those of all parts."""
    rows = slice(images.start - parts[0].start, images.stop - parts[0].start)
    return k[rows, rows] if both else k[rows]
