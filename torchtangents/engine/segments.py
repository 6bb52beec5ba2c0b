"""Segments of a program: steps that csrc runs on one plane at a time, and where their result goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor

from ..covariance.laws import Input
from ..covariance.node import Node
from . import tables
from .operations import Operation


class Gather(IntEnum):
    """Gather of csrc/plan.hpp: where the values of a step come from."""

    INPUT, MATRIX, LOAD, MAP, MIX = range(5)


@dataclass(eq=False)
class Step:
    """One step of a segment. A map reads one source, and may add a second one at the end."""

    gather: Gather
    node: Node
    sources: list[Step] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    taps: list[tuple[int, list[int]]] = field(default_factory=lambda: [(1, [0]), (1, [0])])
    operations: list[Operation] = field(default_factory=list)
    stored: Node | None = None
    source: Input | None = None
    stride: tuple[int, int] | None = None
    buffer: int = -1


@dataclass
class Reduction:
    """What a segment adds to a stored value: one table an axis."""

    target: Node
    tables: list[tables.Table]


@dataclass
class Segment:
    """Steps, the planes they run on as (d0, d1, wide, exact), and where the result goes."""

    steps: list[Step]
    planes: list[tuple[int, int, bool, bool]]
    reductions: list[Reduction]
    output: bool


@dataclass
class Inputs:
    """The data of one side as rows of numbers, (N, channels x positions of each input in turn)."""

    parts: list[Tensor]
    offset: dict[Node, int]
    count: int

    def rows(self) -> Tensor:
        """All of them, contiguous; a view where they are one tensor that is."""
        parts = [p.detach().flatten(1) for p in self.parts]
        return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, 1)


def inputs_of(steps: list[Node]) -> Inputs:
    found: dict[tuple, int] = {}
    out = Inputs([], {}, 0)
    for step in steps:
        if isinstance(step, Input):
            x = step.values
            key = (x.data_ptr(), x.shape, x.stride())
            if key not in found:
                found[key] = out.count
                out.parts.append(x)
                out.count += math.prod(x.shape[1:])
            out.offset[step] = found[key]
    return out
