"""Standard deviations before every ReLU of convolutions, straight from the data: what a pass over self blocks would find."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..covariance.node import Node
from ..engine.lowering import Lowering
from ..engine.operations import Kind, Operation
from ..engine.segments import Gather, Inputs, Segment, Step

Slot = tuple[Node, str, bool]


def covers(low: Lowering, slots: list[Slot]) -> bool:
    """Whether all numbers are deviations in segments that begin with data and keep positions apart."""
    found = {
        (o.node, name, o.root) for s in low.segments if _plain(s) for step in s.steps for o in step.operations for name in o.slots
    }
    return set(slots) <= found


def _plain(segment: Segment) -> bool:
    kinds = {o.kind for s in segment.steps for o in s.operations}
    return kinds <= {Kind.AFFINE, Kind.RELU} and all(s.gather not in (Gather.LOAD, Gather.MATRIX) for s in segment.steps)


def deviations(low: Lowering, slots: list[Slot], x: Tensor, side: int) -> Tensor:
    """(N, numbers of all slots) in float64, for rows of data of one side."""
    found: dict[Slot, Tensor] = {}
    inputs = (low.inputs1, low.inputs2)[side]
    for segment in low.segments:
        if not _plain(segment):
            continue
        values: dict[int, Tensor] = {}
        for step in segment.steps:
            v = _gathered(low, step, values, x, inputs, side)
            before, values[id(step)] = operated(v, step.operations)
            relus = [o for o in step.operations if o.kind == Kind.RELU]
            found |= {(o.node, o.slots[0], o.root): v.flatten(1) for o, v in zip(relus, before, strict=True)}
    return torch.cat([found[slot] for slot in slots], 1)


def operated(v: Tensor, operations: list[Operation]) -> tuple[list[Tensor], Tensor]:
    """Standard deviations before every ReLU of affine operations and ReLUs, and second moments after all of them."""
    found = []
    for o in operations:
        if o.kind == Kind.AFFINE:
            v = o.constants[0] * v + o.constants[1]
        else:
            level, bend, _, folded = o.constants
            found.append(v.clamp_min(0).sqrt())
            v = v * (level / bend if folded else level)
    return found, v


def _gathered(low: Lowering, step: Step, values: dict[int, Tensor], x: Tensor, inputs: Inputs, side: int) -> Tensor:
    """Second moments that a step starts from, (N, rows, columns)."""
    size = low.sizes(step.node)[side]
    if step.gather == Gather.INPUT:
        assert step.source is not None
        node = low.twin[step.source] if side else step.source
        channels, start = step.source.values.shape[1], inputs.offset[node]  # type: ignore[index]
        data = x[:, start : start + channels * math.prod(size)].view(len(x), channels, *size)
        return torch.linalg.vector_norm(data, dim=1, dtype=torch.float64).square() / channels
    sources = [values[id(s)] for s in step.sources]
    if step.gather == Gather.MIX:
        weights = step.weights or [1.0] * len(sources)
        return sum(w * v for w, v in zip(weights, sources, strict=True))  # type: ignore[return-value]
    (v,) = sources
    for axis, (stride, offsets) in enumerate(step.taps):
        v = _window(v, 1 + axis, size[axis], stride, offsets)
    return v


def _window(v: Tensor, axis: int, count: int, stride: int, offsets: list[int]) -> Tensor:
    """out[p] = sum of v[stride p + offset] along an axis, zero outside."""
    reach = stride * (count - 1) + 1
    before, after = max(0, -min(offsets)), max(0, max(offsets) + reach - v.shape[axis])
    padded = pad(v, (0, 0) * (v.ndim - 1 - axis) + (before, after)).transpose(0, axis)
    starts = [before + offset for offset in offsets]
    return sum(padded[start : start + reach : stride] for start in starts).transpose(0, axis)  # type: ignore[union-attr]
