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
from .operations import UNIT, largest
from .products import norms
from .reference import Kept
from .sides import self_pass

_BLOCK = 1 << 22  # numbers in float64 at a time, where only their float32 is kept
_FEW = 1 << 16  # numbers for which no thread is worth starting: it would compete with those of torch, which still wait for work
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


class Keeper:
    """What computes the numbers of every input of a program, in the order of the slots; serves all data of these sizes."""

    def __init__(self, program: Program, slots: list[Slot], wide: bool, narrow: bool, interpolants: Interpolants):
        from .cpu import Code

        self.slots, self.wide, self.narrow = slots, wide, narrow
        if slots:
            single = program.width == torch.float32
            kept = {node: {name} for node, name, _ in slots if not isinstance(node, Pointwise)}
            needs = needs_of(program, {node for node, _, _ in slots})
            self.code = Code(Lowering(needs, single, kept, own=True, interpolants=interpolants, unit=UNIT), False, single)
            self.order, self.total = _order(self.code, slots)

    def of(self, x: Tensor, moments: Tensor | None = None) -> Numbers:
        """The numbers of rows of data (N, ..); `moments`: their second moments, if they are known."""
        n = len(x)
        if not self.slots:
            return Numbers(x.new_zeros(n, 0) if self.narrow else None, torch.zeros(n, 0).double() if self.wide else None)
        count = self.total if self.order is None else len(self.order)
        numbers = Numbers(
            torch.empty(n, count) if self.narrow else None, torch.empty(n, count, dtype=torch.float64) if self.wide else None
        )
        if self.code.lowering.by_product and moments is None:
            moments = norms(x)
        step = max(16, _BLOCK // self.total)
        for i in range(0, n, step):
            rows = slice(i, min(n, i + step))
            direct = self.order is None and numbers.wide is not None
            out = numbers.wide[rows] if direct else torch.empty(rows.stop - i, self.total, dtype=torch.float64)  # type: ignore[index]
            threads = torch.get_num_threads() if out.numel() > _FEW else 0
            self.code.plan.keep(x[rows], None if moments is None else moments[rows], out, threads)
            out = out if self.order is None else out[:, self.order]
            for part in (numbers.narrow, None if direct else numbers.wide):
                if part is not None:
                    part[rows] = out
        return numbers


def numbers_by_rules(program: Program, slots: list[Slot], wide: bool, narrow: bool) -> Numbers:
    """The same by the reference's self pass in float64, for programs that csrc does not keep numbers of."""
    if not slots:
        return Keeper(program, slots, wide, narrow, {}).of(torch.empty(program.batch, 0))
    copy = widened(program)
    kept: Kept = self_pass(copy)[0]
    twin = dict(zip(program.steps, copy.steps, strict=True))
    rows = []
    for node, name, root in slots:
        v = kept.memory[twin[node]][name].detach()
        v = v.reshape(len(v), math.prod(v.shape[1:]))
        most = largest(node, program.width == torch.float32)
        rows.append(v.masked_fill(v >= most, torch.inf).clamp_min(0).sqrt() if root else v)
    whole = torch.cat(rows, 1)
    return Numbers(whole.float() if narrow else None, whole if wide else None)


def tabulated(sides: list[tuple[Program, Tensor]], nodes: list[Node], by_code: bool) -> Interpolants:
    """Tables for functions without a closed form, over the standard deviations that both sides take there, in their order.

    `nodes`: steps of the first side's program.
    """
    tables: Interpolants = {}
    for node in nodes:
        index = sides[0][0].steps.index(node)
        ranges, least = [], []
        for program, x in sides:
            step = program.steps[index]
            slots: list[Slot] = [(step, "v", True)]
            own = {**tables, step: BLANK}
            kept = Keeper(program, slots, True, False, own).of(x) if by_code else numbers_by_rules(program, slots, True, False)
            found = kept.wide
            assert found is not None
            ranges.append((float(found.min()), float(found.max())) if found.numel() else (1.0, 1.0))
            least.append(float(found[found > 0].min()) if bool((found > 0).any()) else math.inf)
        table = interpolant(node.dual, min(r[0] for r in ranges), max(r[1] for r in ranges), min(least))
        tables.update({program.steps[index]: table for program, _ in sides})
    return tables


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
