"""The self blocks: every input with itself, once, for the numbers that pairs need."""

from __future__ import annotations

import torch

from ..covariance.block import Block
from ..covariance.grid import Planes
from ..graph.program import Program
from .memory import pair_bytes, rows_that_fit
from .needs import self_needs
from .reference import Execution, Kept


def self_pass(
    program: Program, wanted: Planes | None = None, ntk: bool = False, tile: int | None = None
) -> tuple[Kept, Block | None]:
    """What pairs need of each input, and (where `wanted`) the output of every input with itself: (N, ..)."""
    needs = self_needs(program, wanted)
    if not needs.planes:
        return Kept(), None
    n = program.batch
    step = tile or rows_that_fit(pair_bytes(needs, ntk, program.width), program.device)
    pieces: list[tuple[Kept, Block | None]] = []
    for i in range(0, max(n, 1), step):
        kept = Kept()
        run = Execution(
            needs, kept, kept, own=True, ntk=ntk, batch1=slice(i, min(n, i + step)), batch2=slice(i, min(n, i + step))
        )
        pieces.append((kept, run.output()))
    return _joined([k for k, _ in pieces]), _output([b for _, b in pieces if b is not None])


def _joined(parts: list[Kept]) -> Kept:
    if len(parts) == 1:
        return parts[0]
    memory = {
        node: {name: torch.cat([p.memory[node][name] for p in parts]) for name in held} for node, held in parts[0].memory.items()
    }
    return Kept(memory)


def _output(parts: list[Block]) -> Block | None:
    return Block.joined(parts, parts[0].grid, 0) if parts else None
