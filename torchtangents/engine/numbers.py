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
from .interpolation import BLANK, Interpolants, interpolant
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


def kept_numbers(
    program: Program, slots: list[Slot], x: Tensor, wide: bool, narrow: bool, by_code: bool, interpolants: Interpolants
) -> Numbers:
    """The numbers of every input of a program, in the order of the slots."""
    if not slots:
        empty = torch.zeros(program.batch, 0, dtype=torch.float64)
        return Numbers(empty.float() if narrow else None, empty if wide else None)
    if not by_code:
        whole = _by_rules(program, slots)
        return Numbers(whole.float() if narrow else None, whole if wide else None)
    return _by_code(program, slots, x, wide, narrow, interpolants)


def tabulated(sides: list[tuple[Program, Tensor]], nodes: list[Node], by_code: bool) -> Interpolants:
    """Tables for functions without a closed form, over the standard deviations that both sides take there, in their order.

    `nodes`: steps of the first side's program.
    """
    tables: Interpolants = {}
    for node in nodes:
        index = sides[0][0].steps.index(node)
        ranges = []
        for program, x in sides:
            step = program.steps[index]
            found = kept_numbers(program, [(step, "v", True)], x, True, False, by_code, {**tables, step: BLANK}).wide
            assert found is not None
            ranges.append((float(found.min()), float(found.max())) if found.numel() else (1.0, 1.0))
        table = interpolant(node.dual, min(r[0] for r in ranges), max(r[1] for r in ranges))
        tables.update({program.steps[index]: table for program, _ in sides})
    return tables


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


def _by_code(program: Program, slots: list[Slot], x: Tensor, wide: bool, narrow: bool, interpolants: Interpolants) -> Numbers:
    from .cpu import Code

    needs = needs_of(program, {node for node, _, _ in slots})
    single = program.width == torch.float32
    kept = {node: {name} for node, name, _ in slots if not isinstance(node, Pointwise)}
    low = Lowering(needs, single, kept, own=True, interpolants=interpolants)
    code = Code(low, False, single)
    order, total = _order(code, slots)
    n, count = program.batch, total if order is None else len(order)
    numbers = Numbers(torch.empty(n, count) if narrow else None, torch.empty(n, count, dtype=torch.float64) if wide else None)
    moments = norms(x) if low.by_product else None
    step = max(16, _BLOCK // total)
    for i in range(0, n, step):
        rows = slice(i, min(n, i + step))
        direct = order is None and numbers.wide is not None
        out = numbers.wide[rows] if direct else torch.empty(rows.stop - i, total, dtype=torch.float64)  # type: ignore[index]
        code.plan.keep(x[rows], None if moments is None else moments[rows], out, torch.get_num_threads())
        out = out if order is None else out[:, order]
        for part in (numbers.narrow, None if direct else numbers.wide):
            if part is not None:
                part[rows] = out
    return numbers


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
