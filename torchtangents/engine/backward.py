"""Derivatives of kernels by recomputation: the reference on one tile of pairs at a time, then on a few inputs at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..covariance.grid import Planes
from ..covariance.node import Memory, Node
from ..graph.program import Program
from .memory import budget
from .needs import Needs, pair_needs, self_needs
from .reference import Execution, Kept
from .sides import self_pass
from .tiles import mirrored, tiles, transposed

_TEMPORARIES = 24  # tensors that a step leaves for its derivative, about
_VALUES = 1 << 16  # of one step in flight, for each thread: such tensors stay in cache, and torch shares them out
Outer = tuple[Tensor | None, Tensor | None]


def gradients(
    first: Program, second: Program, wanted: Planes, ntk: bool, leaves: list[Tensor], outer: Outer, tile: int | None
) -> list[Tensor | None]:
    """d sum(outer * kernels) / d leaf, for the leaves that require it; the leaves are those of the programs."""
    total = _Total([t for t in leaves if t.requires_grad])
    needs = pair_needs(first, second, wanted)
    shared = second is first
    with torch.no_grad():
        kept1, _ = self_pass(first)
        kept2 = kept1 if shared else self_pass(second)[0]
    sides = [_Side(kept1)] if shared else [_Side(kept1), _Side(kept2)]
    side = tile or _side(needs, ntk, first)
    for rows, columns in tiles(first.batch, second.batch, side, shared):
        weights = [None if g is None else _folded(g, rows, columns, shared) for g in outer]
        with torch.enable_grad():
            held1, held2 = _Leaves(sides[0].kept.memory), _Leaves(sides[-1].kept.memory)
            run = Execution(needs, held1, held2, False, ntk, rows, columns, shared)
            block = run.output()
            assert block is not None
            parts = [None if p is None else block.grid.dense(p) for p in (block.nngp, block.ntk if ntk else None)]
            parts = [None if p is None else mirrored(p, shared and rows == columns, block.grid.n) for p in parts]
        found = total.add(parts, weights, [t for held in (held1, held2) for *_, t in held.taken])
        for side_, held in ((sides[0], held1), (sides[-1], held2)):
            for node, name, batch, leaf in held.taken:
                if id(leaf) in found:
                    side_.add(node, name, batch, found[id(leaf)])
    for program, side_ in zip((first, second), sides, strict=False):
        _through_sides(program, side_, total)
    return [total.of(t) for t in leaves]


def _folded(g: Tensor, rows: slice, columns: slice, shared: bool) -> Tensor:
    """The outer derivative of a tile, with that of its mirror image below the diagonal."""
    part = g[rows, columns]
    if shared and rows != columns:
        part = part + transposed(g[columns, rows])
    return part


class _Total:
    """Sums of derivatives by leaf."""

    def __init__(self, leaves: list[Tensor]):
        self.leaves = leaves
        self.sums: dict[int, Tensor] = {}

    def add(self, results: Iterable[Tensor | None], weights: Iterable[Tensor | None], also: list[Tensor]) -> dict[int, Tensor]:
        """Adds the derivatives by the leaves, and returns those by other tensors, by their id."""
        pairs = [(r, w) for r, w in zip(results, weights, strict=True) if r is not None and w is not None and r.requires_grad]
        if not pairs or not (self.leaves or also):
            return {}
        asked = [*self.leaves, *also]
        found = torch.autograd.grad([r for r, _ in pairs], asked, [w.to(r) for r, w in pairs], allow_unused=True)
        for leaf, d in zip(self.leaves, found, strict=False):
            if d is not None:
                self.sums[id(leaf)] = self.sums[id(leaf)] + d if id(leaf) in self.sums else d
        rest = zip(also, found[len(self.leaves) :], strict=True)
        return {id(leaf): d for leaf, d in rest if d is not None}

    def of(self, leaf: Tensor) -> Tensor | None:
        return self.sums.get(id(leaf))


@dataclass
class _Leaves(Kept):
    """The kept numbers of one side of one tile, as leaves of their own: no tile costs as much as all inputs."""

    memory: dict[Node, Memory] = field(default_factory=dict)
    taken: list[tuple[Node, str, slice, Tensor]] = field(default_factory=list)

    def of(self, node: Node, batch: slice) -> Memory:
        own = {name: v[batch].detach().requires_grad_() for name, v in self.memory.get(node, {}).items()}
        self.taken += [(node, name, batch, leaf) for name, leaf in own.items()]
        return own


class _Side:
    """The kept numbers of one side, and the derivatives by them."""

    def __init__(self, kept: Kept):
        self.kept = kept
        self.sums: dict[tuple[Node, str], Tensor] = {}

    def add(self, node: Node, name: str, batch: slice, d: Tensor) -> None:
        if (node, name) not in self.sums:
            self.sums[node, name] = torch.zeros_like(self.kept.memory[node][name])
        self.sums[node, name][batch] += d


def _through_sides(program: Program, side: _Side, total: _Total) -> None:
    """From the derivatives by the kept numbers to those by the leaves, a few inputs at a time."""
    needs = self_needs(program, None)
    if not needs.planes or not side.sums:
        return
    step = _rows(needs, False, program)
    for i in range(0, program.batch, step):
        part = slice(i, min(program.batch, i + step))
        kept = Kept()
        with torch.enable_grad():
            Execution(needs, kept, kept, own=True, ntk=False, batch1=part, batch2=part).output()
        results, weights = [], []
        for node, held in kept.memory.items():
            for name, value in held.items():
                outer = side.sums.get((node, name))
                results.append(value)
                weights.append(None if outer is None else outer[part])
        total.add(results, weights, [])


def _rows(needs: Needs, ntk: bool, program: Program) -> int:
    """How many pairs leave all that their derivative needs in the memory of one tile, and run fast."""
    parts = 1 + ntk + any(needs.distance.values())
    cells = [needs.grid(i).entries for i, s in enumerate(needs.steps1) if s in needs.planes]
    fit = budget(program.device) // (sum(cells) * parts * _TEMPORARIES * program.width.itemsize)
    return max(1, min(fit, _VALUES * torch.get_num_threads() // max(cells) if program.device.type == "cpu" else fit))


def _side(needs: Needs, ntk: bool, program: Program) -> int:
    return max(1, math.isqrt(_rows(needs, ntk, program)))
