"""What a recording leaves: steps in order, from the data to one output."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..covariance.kinked import ABReLU, Sign
from ..covariance.layout import CHANNEL
from ..covariance.maps import Linear
from ..covariance.node import Node
from ..covariance.pointwise import Pointwise
from ..covariance.state import State
from ..surroundings import uncompiled
from .recorder import Recorder
from .symbol import Symbol


class Program:
    """The recorded steps of one model on inputs of one shape."""

    def __init__(self, output: State, batch: int, dtype: torch.dtype, device: torch.device):
        self.output, self.batch, self.dtype, self.device = output, batch, dtype, device
        state = output.masked()
        for i in range(len(state.layout)):
            while CHANNEL in state.layout[i] and len(state.layout[i]) > 1:
                state = state.trace(next(t for t in state.layout[i] if t != CHANNEL))
        self.layout = tuple(group for group in state.layout if group and group != (CHANNEL,))
        self.root = state.node()
        self.steps = ordered(self.root)
        self.widened = False
        if self.delicate:
            for step in self.steps:
                step.widen()

    @property
    def delicate(self) -> bool:
        """Whether a function that is not piecewise linear occurs, or sums that cancel: such programs run in float64."""
        return any(
            s.wide
            or (isinstance(s, Pointwise) and not isinstance(s.dual, (ABReLU, Sign)))
            or (isinstance(s, Linear) and bool((s.rows.coef < 0).any()))
            for s in self.steps
        )

    @property
    def width(self) -> torch.dtype:
        """The precision that the program runs in."""
        return torch.float64 if self.delicate or self.widened else self.dtype


def widened(program: Program) -> Program:
    """The same program on the data in float64; its steps are new, in the same order."""
    new: dict[Node, Node] = {}
    for step in program.steps:
        twin = copy.copy(step)
        twin.inputs = tuple(new[i] for i in step.inputs)
        twin.widen()
        new[step] = twin
    out = copy.copy(program)
    out.root, out.steps, out.widened = new[program.root], [new[s] for s in program.steps], True
    return out


def ordered(root: Node) -> list[Node]:
    """Every step that the root needs, inputs first."""
    seen: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            seen[node] = None
        elif node not in seen:
            stack.append((node, True))
            stack.extend((i, False) for i in reversed(node.inputs) if i not in seen)
    return list(seen)


@uncompiled
def record(model: torch.nn.Module, args: tuple[Any, ...], mask: Tensor | bool | None = None) -> Program:
    """The program of a model on these inputs (tensors, batch first; or symbols), with data where the mask is True."""
    model = getattr(model, "_orig_mod", model)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    recorder = Recorder(model)
    first = next(a for a in args if isinstance(a, Tensor))
    recorder.batch, recorder.dtype, recorder.mask = first.shape[0], first.dtype, mask
    versions = [_version(a) for a in args]
    output = recorder.run(args)
    for a, version in zip(args, versions, strict=True):
        if _version(a) != version:
            raise ValueError(
                f"{type(model).__name__}: forward changed its input in place (an in-place activation before the first "
                "layer with weights). Expected inplace=False there"
            )
    if isinstance(output, (tuple, list)) and len(output) == 1:
        (output,) = output
    if not isinstance(output, Symbol):
        raise ValueError(
            f"{type(model).__name__}: expected forward to return one value that passed a layer of torchtangents.nn, "
            f"got {type(output).__name__}"
        )
    dtype = first.dtype if first.is_floating_point() else output.dtype
    return Program(output.current(), recorder.batch, dtype, first.device)


def _version(argument: Any) -> int:
    """Counts in-place changes of a tensor, where torch counts them."""
    counted = isinstance(argument, Tensor) and not isinstance(argument, Symbol) and not argument.is_inference()
    return argument._version if counted else 0
