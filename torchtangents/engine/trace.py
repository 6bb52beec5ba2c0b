"""What a network's kernel will compute, before it does: one line a step."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from ..covariance.grid import Planes
from ..display import html_table, text_table
from ..graph.program import Program
from .needs import Needs, output_planes, pair_needs

_HEADER, _NUMBERS = ("layer", "step", "positions", "planes", "which", "cost a pair"), (3, 5)


@dataclass(frozen=True)
class Trace:
    """The steps of a recorded network with the planes that each one needs; `print` shows a line a step."""

    program: Program
    needs: Needs

    @property
    def planes(self) -> dict[str, int]:
        """The most planes that any step of each layer needs, by the layer's dotted name."""
        out: dict[str, int] = {}
        for step in self.needs.steps1:
            out[step.layer] = max(out.get(step.layer, 0), _count(self.needs.planes[step]))
        return out

    @property
    def cost(self) -> int:
        """Arithmetic operations of one pair of inputs, roughly."""
        return sum(self._cost(i) for i in range(len(self.needs.steps1)))

    def _cost(self, index: int) -> int:
        return self.needs.grid(index).entries * self.needs.steps1[index].cost()

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for i, step in enumerate(self.needs.steps1):
            planes = self.needs.planes[step]
            positions = "x".join(map(str, step.size)) or "-"
            cells = (
                step.layer or "input",
                repr(step),
                positions,
                f"{_count(planes):,}",
                _described(planes),
                f"{self._cost(i):,}",
            )
            rows.append(cells)
        return rows

    def __str__(self) -> str:
        return f"{text_table(_HEADER, self._rows(), _NUMBERS)}\ntotal: {self.cost:,} operations a pair"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(_HEADER, self._rows(), _NUMBERS, f"{self.cost:,} operations a pair")


def trace_of(program: Program) -> Trace:
    """The trace of pairs of inputs of one shape."""
    return Trace(program, pair_needs(program, program, output_planes(program, program)))


def _count(planes: Planes) -> int:
    return math.prod(len(p) for p in planes)


def _described(planes: Planes) -> str:
    """Each axis as first..last, with its step where that is not 1."""
    parts = []
    for axis in planes:
        steps = {b - a for a, b in itertools.pairwise(axis)}
        if len(axis) == 1:
            parts.append(str(axis[0]))
        elif len(steps) == 1:
            (step,) = steps
            parts.append(f"{axis[0]}..{axis[-1]}" + (f" by {step}" if step != 1 else ""))
        else:
            parts.append(f"{len(axis)} in {axis[0]}..{axis[-1]}")
    return " x ".join(parts) or "-"
