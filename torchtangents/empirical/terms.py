"""One parameter's gradient in a block of samples: a structured piece where all its uses have one structure, else the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .contract import Rows, Sizes, contract, dense_product, sizes_of
from .passes import Block
from .recorder import Site
from .uses import Piece, Spread, Use

Term = Piece | Tensor
Places = dict[str, list[tuple[int, Use, int | None]]]  # of each parameter: its sites, uses and features


def places_of(sites: Sequence[Site]) -> Places:
    """Where each parameter is used."""
    found: Places = {}
    for i, site in enumerate(sites):
        for use, feature in site.uses:
            found.setdefault(use.known.name, []).append((i, use, feature))
    return found


def term(name: str, places: Places, block: Block, parameter: Tensor) -> Term:
    """A parameter's piece or gradient (n, R, numbers). Uses of one structure follow each other along positions, which counts
    their cross terms; others are added up."""
    several: list[Term] = []
    for site, use, feature in places[name]:
        x, g = None if feature is None else _work(block.features[feature]), _work(block.cotangents[site])
        several.append(use.dense(x, g) if isinstance(use, Spread) else use.piece(x, g))  # type: ignore[arg-type]
    if len(several) == 1:
        return several[0]
    pieces = [p for p in several if isinstance(p, Piece)]
    if len(pieces) == len(several) and all(_layout(p) == _layout(pieces[0]) for p in pieces):
        return Piece(torch.cat([p.x for p in pieces], 2), torch.cat([p.g for p in pieces], 3), pieces[0].swapped)
    return torch.stack([whole(t, parameter) for t in several]).sum(0)


def whole(t: Term, parameter: Tensor) -> Tensor:
    """The gradient (n, R, numbers) itself."""
    return t.dense(len(parameter)) if isinstance(t, Piece) else t


def _work(x: Tensor) -> Tensor:
    """Half precision is contracted in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _layout(p: Piece) -> tuple:
    return p.swapped, p.x.ndim, p.g.shape[2], p.g.shape[4], p.x.shape[3:]


def product(a: Term, b: Term, rows: Rows, parameter: Tensor) -> Tensor:
    """One parameter's part of the kernel, (diagonal, n1, free, n2, free)."""
    if isinstance(a, Piece) and isinstance(b, Piece) and a.swapped == b.swapped:
        return contract(a, b, rows, parameter.numel(), len(parameter) if parameter.ndim else 1)
    return dense_product(whole(a, parameter), whole(b, parameter), rows)


def kernel(first: tuple[Places, Block], second: tuple[Places, Block], rows: Rows, parameters: Mapping[str, Tensor]) -> Tensor:
    """The sum over parameters of two blocks, (diagonal, n1, free, n2, free)."""
    (places1, block1), (places2, block2) = first, second
    out: Tensor | None = None
    for name in places1:
        if name in places2:
            a = term(name, places1, block1, parameters[name])
            b = a if block1 is block2 else term(name, places2, block2, parameters[name])
            part = product(a, b, rows, parameters[name])
            out = part if out is None else out.add_(part)
    if out is None:  # no parameter has an effect on this output
        n1, n2 = block1.count, block2.count
        out = torch.zeros(rows.diagonal, n1, rows.free, n2, rows.free, dtype=block1.dtype, device=block1.device)
    return out


def sizes(t: Term, parameter: Tensor) -> Sizes | None:
    """The sizes of a structured piece, None for a gradient."""
    return sizes_of(t, parameter.numel()) if isinstance(t, Piece) else None
