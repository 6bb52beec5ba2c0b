"""The first pass over a kernel: what a solver must know of it, and whether it is one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..engine.progress import watched
from .square import Square, merged


class Look(NamedTuple):
    """What one tile contributes: absolute sums of its rows and columns, its diagonal, how far it is from its mirror image."""

    rows: Tensor
    columns: Tensor
    diagonal: Tensor
    gap: float
    most: float
    digest: bytes
    wrong: tuple[int, int, float] | None


class Survey(NamedTuple):
    """Diagonal (N,) in float64, the 1-norm (a bound on the largest eigenvalue), and a digest of all bits and of the tiles."""

    diagonal: Tensor
    norm: float
    digest: str

    @property
    def scale(self) -> float:
        """The mean of the diagonal, in units of which diag_reg is given."""
        return self.diagonal.mean().item()


def inspect(upper: Tensor, lower: Tensor | None, on_diagonal: bool) -> Look:
    """Look at K_ij, and at K_ji where it is given."""
    wrong = None
    for part in (upper, lower) if lower is not None and not on_diagonal else (upper,):
        bad = ~torch.isfinite(part)
        if bool(bad.any()):
            row, column = bad.nonzero()[0].tolist()
            wrong = (row, column, part[row, column].item()) if part is upper else (column, row, part[row, column].item())
    gap = 0.0 if lower is None else (upper.double() - lower.mT.double()).abs().max().item()
    tile = (upper if lower is None else merged(upper, lower)).double()
    digest = hashlib.blake2b(_bytes(upper))
    if gap > 0 and lower is not None:
        digest.update(_bytes(lower))
    size = tile.abs()
    diagonal = tile.diagonal() if on_diagonal else tile.new_zeros(0)
    return Look(size.sum(1), size.sum(0), diagonal.clone(), gap, size.max().item(), digest.digest(), wrong)


def survey(
    square: Square,
    progress: bool | None = None,
    looks: dict[tuple[int, int], Look] | None = None,
    into: Callable[[int, int, Tensor], object] | None = None,
) -> Survey:
    """Read every tile once; afterwards the lower triangle is read no more where it equals the upper one.

    Args:
        square: the kernel.
        progress: a bar, or none, or one that appears when it takes long.
        looks: what a cluster has found already, for each tile.
        into: is given each tile of the symmetric matrix.

    Raises:
        ValueError: NaN or infinity, with the tile and the entry; entries that differ from their mirror image.
    """
    found: dict[tuple[int, int], Look] = looks or {}
    for i, j in watched(square.places if looks is None else [], progress):
        upper, lower = square.raw(i, j)
        found[i, j] = inspect(upper, lower, i == j)
        _require_finite(square, i, j, found[i, j])
        tile = square.keep(i, j, upper if lower is None else merged(upper, lower))
        if into is not None:
            into(i, j, tile)
    sums = torch.zeros(len(square), dtype=torch.float64)
    digest = hashlib.blake2b(f"{len(square)} {square.dtype} {square.cuts}".encode(), digest_size=20)
    for (i, j), look in sorted(found.items()):
        _require_finite(square, i, j, look)
        sums[square.cuts[i]] += look.rows
        if i != j:
            sums[square.cuts[j]] += look.columns
        digest.update(look.digest)
    gap, most = max(look.gap for look in found.values()), max(look.most for look in found.values())
    if gap > math.sqrt(torch.finfo(square.dtype).eps) * most:
        raise ValueError(
            f"{square.name}: expected a symmetric matrix, got entries that differ by {gap:.3g} from their mirror image; "
            "pass the kernel of x_train with itself."
        )
    square.upper_only = gap == 0
    diagonal = torch.cat([found[i, i].diagonal for i in range(len(square.cuts))])
    return Survey(diagonal, sums.max().item(), digest.hexdigest())


def _require_finite(square: Square, i: int, j: int, look: Look) -> None:
    if look.wrong is not None:
        row, column, value = look.wrong
        index = (square.cuts[i].start + row, square.cuts[j].start + column)
        raise ValueError(
            f"{square.name}: expected finite numbers, got {value} at index {index}, in tile {(i, j)} of "
            f"{square.largest} x {square.largest}; compute that tile again (`verify` of a stored kernel finds damaged ones)."
        )


def _bytes(tile: Tensor) -> memoryview:
    return memoryview(tile.contiguous().view(torch.uint8).numpy()).cast("B")
