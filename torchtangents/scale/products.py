"""K p for a block of vectors: every tile of the upper triangle is read once and serves both triangles, in float64."""

from __future__ import annotations

import uuid
from typing import Any

import torch
from torch import Tensor

from .square import Square, merged, read
from .survey import Look, Survey, Tally, inspect, survey

_PANEL = 128  # rows of a tile that are float64 at once: they stay in the cache for both products


def both(tile: Tensor, p_rows: Tensor, p_columns: Tensor, on_diagonal: bool) -> tuple[Tensor, Tensor]:
    """K_ij p_j (n, C), and K_ij^T p_i (m, C), which is zero on the diagonal, where the first is all."""
    down = torch.zeros(tile.shape[1], p_rows.shape[1], dtype=torch.float64, device="cpu")
    across = []
    for start in range(0, len(tile), _PANEL):
        panel = tile[start : start + _PANEL].double()
        across.append(panel @ p_columns)
        if not on_diagonal:
            down += panel.mT @ p_rows[start : start + _PANEL]
    return torch.cat(across), down


class Here:
    """Products in this process."""

    def __init__(self, square: Square):
        self.square = square

    def survey(self, progress: bool | None = None) -> Survey:
        """The first pass, see `survey`."""
        return survey(self.square, progress)

    def __call__(self, p: Tensor) -> Tensor:
        """K p (N, C) for p (N, C) in float64."""
        out, cuts = torch.zeros_like(p), self.square.cuts
        for i, j, tile in self.square.tiles():
            across, down = both(tile, p[cuts[i]], p[cuts[j]], i == j)
            out[cuts[i]] += across
            out[cuts[j]] += down
        return out


class Cluster:
    """Products on the workers of a `distributed.Client`: a task for each tile, one for the sum of each block of rows.

    Sums are taken in a fixed order, so that results do not depend on which worker was first.

    Raises:
        TypeError: an array in this process's memory, which every iteration would send.
    """

    _RETRIES = 3

    def __init__(self, square: Square, client: Any):
        from dask import delayed

        self.square, self.client, self._delayed = square, client, delayed
        array, cuts = square.array, square.cuts
        if hasattr(array, "dask"):
            sizes = tuple(rows.stop - rows.start for rows in cuts)
            blocks = array.rechunk((sizes, sizes)).to_delayed()
            self._block = lambda i, j: blocks[i, j]
        elif hasattr(array, "chunks"):
            source = delayed(array, name=f"kernel-{uuid.uuid4().hex}", traverse=False)
            self._block = lambda i, j: (source, cuts[i], cuts[j])  # read inside the task that needs it: no tile travels
        else:
            raise TypeError(
                f"{square.name}: expected a stored kernel, a zarr or a dask array with client=, got {type(array).__name__}, "
                "which every iteration would send to the workers; leave client out, or store it."
            )

    def survey(self, progress: bool | None = None) -> Survey:
        """The first pass, see `survey`, on the workers."""
        look, places, tally = self._delayed(_look), self.square.places, Tally(self.square)
        looks = self._run([look(self._block(i, j), self._mirror(i, j), i == j) for i, j in places])
        for place, found in zip(places, looks, strict=True):
            tally.add(*place, found)
        return tally.result()

    def __call__(self, p: Tensor) -> Tensor:
        """K p (N, C) for p (N, C) in float64."""
        cuts = self.square.cuts
        name = f"vectors-{uuid.uuid4().hex}"
        parts = [self._delayed(p[rows].clone(), name=f"{name}-{i}", traverse=False) for i, rows in enumerate(cuts)]
        multiply, total = self._delayed(_multiply), self._delayed(_total)
        pairs = {
            (i, j): multiply(self._block(i, j), self._mirror(i, j), parts[i], parts[j], i == j) for i, j in self.square.places
        }
        strips = []
        for i in range(len(cuts)):
            terms = [pairs[j, i] for j in range(i)], [pairs[i, j] for j in range(i, len(cuts))]
            strips.append(total(*terms))
        return torch.cat(list(self._run(strips)))

    def _mirror(self, i: int, j: int) -> Any:
        return None if self.square.upper_only else self._block(j, i)

    def _run(self, tasks: list) -> Any:
        return self.client.gather(self.client.compute(tasks, retries=self._RETRIES))


def _tensor(block: Any) -> Tensor:
    return read(*block) if isinstance(block, tuple) else read(block, slice(None), slice(None))


def _look(block: Any, mirror: Any, on_diagonal: bool) -> Look:
    tile = _tensor(block)
    return inspect(tile, tile if on_diagonal else None if mirror is None else _tensor(mirror), on_diagonal)


def _multiply(block: Any, mirror: Any, p_rows: Tensor, p_columns: Tensor, on_diagonal: bool) -> tuple[Tensor, Tensor]:
    tile = _tensor(block)
    return both(tile if mirror is None else merged(tile, _tensor(mirror)), p_rows, p_columns, on_diagonal)


def _total(above: list[tuple[Tensor, Tensor]], beside: list[tuple[Tensor, Tensor]]) -> Tensor:
    out = torch.zeros_like(beside[0][0])
    for _, down in above:
        out += down
    for across, _ in beside:
        out += across
    return out
