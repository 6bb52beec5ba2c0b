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


def survey(square: Square, progress: bool | None = None, into: Callable[[int, int, Tensor], object] | None = None) -> Survey:
    """Read every tile once; afterwards the lower triangle is read no more where it equals the upper one.

    Args:
        square: the kernel.
        progress: a bar, or none, or one that appears when it takes long.
        into: is given each tile of the symmetric matrix.

    Raises:
        ValueError: NaN or infinity, with the tile and the entry; entries that differ from their mirror image.
    """
    tally = Tally(square)
    pieces = square.ahead(lambda place: square.raw(*place))
    for i, j in watched(square.places, progress, "reading"):
        _, (upper, lower) = next(pieces)
        lower = upper if i == j else lower
        tally.add(i, j, inspect(upper, lower, i == j))
        tile = square.keep(i, j, upper if lower is None else merged(upper, lower))
        if into is not None:
            into(i, j, tile)
    return tally.result()


class Tally:
    """Looks at all tiles, added up in the order in which they come."""

    def __init__(self, square: Square):
        self.square = square
        self.sums = torch.zeros(len(square), dtype=torch.float64, device="cpu")
        self.diagonal = torch.zeros(len(square), dtype=torch.float64, device="cpu")
        self.gap = self.most = 0.0
        self.digest = hashlib.blake2b(f"{len(square)} {square.dtype} {square.cuts}".encode(), digest_size=20)

    def add(self, i: int, j: int, look: Look) -> None:
        """One more tile; refuses NaN and infinity."""
        rows, columns = self.square.cuts[i], self.square.cuts[j]
        if look.wrong is not None:
            row, column, value = look.wrong
            index = (rows.start + row, columns.start + column)
            raise ValueError(
                f"{self.square.name}: expected finite numbers, got {value} at index {index}, in tile {(i, j)} of "
                f"{self.square.largest} x {self.square.largest}; compute that tile again (`verify` of a stored kernel finds "
                "damaged ones)."
            )
        self.sums[rows] += look.rows
        if i == j:
            self.diagonal[rows] = look.diagonal
        else:
            self.sums[columns] += look.columns
        self.gap, self.most = max(self.gap, look.gap), max(self.most, look.most)
        self.digest.update(look.digest)

    def result(self) -> Survey:
        """What all tiles say; refuses a matrix that is not symmetric to half the digits of its dtype, as `predict` does."""
        if self.gap > math.sqrt(torch.finfo(self.square.dtype).eps) * self.most:
            raise ValueError(
                f"{self.square.name}: expected a symmetric matrix, got entries that differ by {self.gap:.3g} from their mirror "
                "image; pass the kernel of x_train with itself."
            )
        self.square.upper_only = self.gap == 0
        return Survey(self.diagonal, self.sums.max().item(), self.digest.hexdigest())


def _bytes(tile: Tensor) -> memoryview:
    return memoryview(tile.contiguous().view(torch.uint8).numpy()).cast("B")
