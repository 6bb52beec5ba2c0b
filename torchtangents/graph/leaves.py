"""The tensors that a program computes with: data, variances of weights, parameters of functions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..covariance.dual import Dual
from ..covariance.node import Node
from .program import Program

_HOLDERS = (Tensor, tuple, Dual)


def leaves(*programs: Program) -> list[Tensor]:
    """Every tensor that enters the programs, once, in a fixed order."""
    values = (
        value for program in programs for step in program.steps for value in vars(step).values() if isinstance(value, _HOLDERS)
    )
    return list({id(t): t for value in values for t in _within(value)}.values())


def _within(value: Any) -> Sequence[Tensor]:
    if isinstance(value, Tensor):
        return (value,)
    if isinstance(value, tuple):
        return [t for v in value if isinstance(v, _HOLDERS) for t in _within(v)]
    if isinstance(value, Dual):
        return [v for v in vars(value).values() if isinstance(v, Tensor)]
    return ()


def rebound(program: Program, new: dict[int, Tensor]) -> Program:
    """The same program with some of its tensors exchanged, by the id of the old one."""
    steps: dict[Node, Node] = {}
    for step in program.steps:
        steps[step] = _changed(step, lambda t: new.get(id(t), t))
        steps[step].inputs = tuple(steps[i] for i in step.inputs)
    out = copy.copy(program)
    out.root, out.steps = steps[program.root], [steps[s] for s in program.steps]
    return out


def _changed(step: Node, change: Callable[[Tensor], Tensor]) -> Node:
    out = copy.copy(step)
    for name, value in vars(step).items():
        setattr(out, name, _each(value, change))
    return out


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and any(isinstance(v, Tensor) for v in value):
        return tuple(_each(v, change) for v in value)
    if isinstance(value, Dual):
        out = copy.copy(value)
        for name, inner in vars(value).items():
            if isinstance(inner, Tensor):
                setattr(out, name, change(inner))
        return out
    return value


def hides_tensors(program: Program) -> bool:
    """Whether a function's own code holds tensors to differentiate by, where they cannot be exchanged."""
    duals = (getattr(step, "dual", None) for step in program.steps)
    with torch.enable_grad():
        zeros = [
            d.function(torch.zeros(1))
            for d in duals
            if d is not None and d.finite and not any(isinstance(v, Tensor) for v in vars(d).values())
        ]
    return any(z.requires_grad for z in zeros)
