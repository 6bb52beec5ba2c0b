"""Per-input numbers that pairs read (standard deviations at every function, normalisers, means), once for every input.

By csrc, an input with itself, where they are second moments only; by the steps' own rules otherwise. In float64 both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..covariance.laws import Dropout
from ..covariance.node import Node
from ..covariance.pointwise import Normalize, Pointwise
from ..graph.program import Program, widened
from .lowering import Lowering
from .needs import Needs, needs_of
from .products import norms
from .reference import Kept
from .sides import self_pass

_BLOCK = 1 << 22  # numbers in float64 at a time, where only their float32 is kept
Slot = tuple[Node, str, bool]


@dataclass
class Numbers:
    """(N, slot positions) in the data's precision where it is single, and in double where a plan needs it."""

    narrow: Tensor | None
    wide: Tensor | None


def kept_names(needs: Needs, node: Node) -> set[str]:
    """Which numbers the self pass keeps of a step."""
    if isinstance(node, Normalize):
        centred = node.center and not node.inputs[0].centred
        return {"scale", "v", "shift", "mean"} if centred else {"scale", "v"}
    return {"v"} if isinstance(node, Dropout) and needs.distance[node] else set()


def kept_numbers(program: Program, slots: list[Slot], x: Tensor, wide: bool, narrow: bool, by_code: bool) -> Numbers:
    """The numbers of every input of a program, in the order of the slots."""
    if not slots:
        empty = torch.zeros(program.batch, 0, dtype=torch.float64)
        return Numbers(empty.float() if narrow else None, empty if wide else None)
    if not by_code:
        whole = _by_rules(program, slots)
        return Numbers(whole.float() if narrow else None, whole if wide else None)
    return _by_code(program, slots, x, wide, narrow)


def _by_rules(program: Program, slots: list[Slot]) -> Tensor:
    copy = widened(program)
    kept: Kept = self_pass(copy)[0]
    twin = dict(zip(program.steps, copy.steps, strict=True))
    rows = []
    for node, name, root in slots:
        v = kept.memory[twin[node]][name].detach()
        v = v.reshape(len(v), math.prod(v.shape[1:]))
        rows.append(v.clamp_min(0).sqrt() if root else v)
    return torch.cat(rows, 1)


def _by_code(program: Program, slots: list[Slot], x: Tensor, wide: bool, narrow: bool) -> Numbers:
    from .cpu import Code

    needs = needs_of(program, {node for node, _, _ in slots})
    single = program.width == torch.float32
    low = Lowering(needs, single, {node: {name} for node, name, _ in slots if not isinstance(node, Pointwise)}, own=True)
    code = Code(low, False, single)
    order, count = _order(code, slots)
    n = program.batch
    kept = Numbers(torch.empty(n, count) if narrow else None, torch.empty(n, count, dtype=torch.float64) if wide else None)
    moments = norms(x).to(x.dtype) if low.by_product else None
    step = max(16, _BLOCK // count) if not wide else max(n, 1)
    for i in range(0, n, step):
        rows = slice(i, min(n, i + step))
        out = torch.empty(rows.stop - i, count, dtype=torch.float64) if kept.wide is None else kept.wide
        code.plan.keep(x[rows], None if moments is None else moments[rows], out, torch.get_num_threads())
        if order is not None:
            out.copy_(out[:, order])
        if kept.narrow is not None:
            kept.narrow[rows] = out
    return kept


def _order(code, slots: list[Slot]) -> tuple[Tensor | None, int]:
    """Where the numbers of the slots are among those that csrc keeps; None where they are in the same order."""
    low = code.lowering
    sizes = {key: torch.Size(low.size(key[0])).numel() for key in code.slots}
    begin, total = {}, 0
    for key in code.slots:
        begin[key], total = total, total + sizes[key]
    if list(code.slots) == slots:
        return None, total
    return torch.cat([torch.arange(begin[k], begin[k] + sizes[k]) for k in slots]), total
