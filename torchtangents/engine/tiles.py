"""Pairs of inputs in tiles that fit in memory; the upper triangle only where both sets are one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..covariance.grid import Planes
from ..graph.program import Program
from .memory import pair_bytes, rows_that_fit
from .needs import pair_needs
from .progress import watched
from .reference import Execution, Kept


def tile_size(first: Program, second: Program, wanted: Planes, ntk: bool) -> int:
    """Inputs on a side of a square tile."""
    return max(1, math.isqrt(rows_that_fit(pair_bytes(pair_needs(first, second, wanted), ntk, first.width), first.device)))


def tiles(n1: int, n2: int, side: int, symmetric: bool) -> list[tuple[slice, slice]]:
    """All tiles, or those on and above the diagonal."""
    rows = [slice(i, min(n1, i + side)) for i in range(0, n1, side)]
    columns = [slice(i, min(n2, i + side)) for i in range(0, n2, side)]
    return [(r, c) for r in rows for c in columns if not symmetric or c.start >= r.start]


def all_pairs(
    first: Program, second: Program, kept1: Kept, kept2: Kept, wanted: Planes, ntk: bool, tile: int | None, progress: bool | None
) -> tuple[Tensor, Tensor | None]:
    """(nngp, ntk) of every pair, dense over what positions are left: (N1, N2, *S1, *S2)."""
    symmetric = first is second
    n1, n2 = first.batch, second.batch
    needs = pair_needs(first, second, wanted)
    side = tile or tile_size(first, second, wanted, ntk)
    places = tiles(n1, n2, side, symmetric)
    shape = (n1, n2, *first.root.size, *second.root.size)
    differentiable = torch.is_grad_enabled()
    results: dict[tuple[int, int], list[Tensor]] = {}
    out: list[Tensor] = []
    for rows, columns in watched(places, progress):

        def compute(rows: slice = rows, columns: slice = columns) -> tuple[Tensor, ...]:
            run = Execution(needs, kept1, kept2, False, ntk, rows, columns, symmetric)
            block = run.output()
            assert block is not None
            parts = (block.nngp,) if block.ntk is None else (block.nngp, block.ntk)
            return tuple(mirrored(block.grid.dense(p), symmetric and rows == columns, block.grid.n) for p in parts)

        if differentiable and len(places) > 1:
            parts = torch.utils.checkpoint.checkpoint(compute, use_reentrant=False)
        else:
            parts = compute()
        if not out and not parts[0].requires_grad:
            out = [torch.empty(shape, dtype=parts[0].dtype, device=parts[0].device) for _ in parts]
        if out and not parts[0].requires_grad:
            for whole, part in zip(out, parts, strict=True):
                whole[rows, columns] = part
                if symmetric and rows != columns:
                    whole[columns, rows] = transposed(part)
        else:
            results[rows.start, columns.start] = list(parts)
            if symmetric and rows != columns:
                results[columns.start, rows.start] = [transposed(p) for p in parts]
    if results:
        starts1, starts2 = sorted({r for r, _ in results}), sorted({c for _, c in results})
        out = [torch.cat([torch.cat([results[r, c][k] for c in starts2], 1) for r in starts1], 0) for k in range(1 + ntk)]
    if not out:
        out = [torch.zeros(shape, dtype=first.width, device=first.device) for _ in range(1 + ntk)]
    return out[0], out[1] if ntk else None


def transposed(part: Tensor) -> Tensor:
    """The covariance of the pairs the other way around, (N2, N1, *S2, *S1) of (N1, N2, *S1, *S2)."""
    n = (part.ndim - 2) // 2
    return part.permute(1, 0, *range(2 + n, 2 + 2 * n), *range(2, 2 + n))


def mirrored(part: Tensor, diagonal: bool, n: int) -> Tensor:
    """A tile on the diagonal is symmetric exactly: its upper triangle counts."""
    if not diagonal or len(part) < 2:
        return part
    upper = torch.ones(part.shape[:2], dtype=torch.bool, device=part.device).triu().reshape(*part.shape[:2], *(1,) * (2 * n))
    return torch.where(upper, part, transposed(part))
