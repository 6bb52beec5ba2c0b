"""What csrc does to every position on its own: the kind of an operation, the per-input numbers it reads, its constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from ..covariance.combine import Combine
from ..covariance.dual import Dual
from ..covariance.kinked import ABReLU, Sign
from ..covariance.laws import Affine, Dropout, Gain
from ..covariance.node import Node
from ..covariance.parts import Channels
from ..covariance.pointwise import Normalize, Pointwise
from ..covariance.refusal import NotNative
from ..covariance.smooth import GELU, RBF, Erf, Sin
from .interpolation import Interpolant


class Kind(IntEnum):
    """Kind of csrc/plan.hpp."""

    AFFINE, RELU, SIGN, ERF, GELU, WAVE, RBF, TABLE, GAIN, NORMALIZE, DROPOUT, MEANS, RECORD = range(13)


UNIT = math.sqrt(2)  # csrc/duals.hpp leaves it out of a ReLU's covariance, beside the factor of its angle


@dataclass(frozen=True)
class Operation:
    """One operation of a step; `slots` names the numbers kept by the node, `root` those that enter as square roots."""

    kind: Kind
    node: Node
    slots: tuple[str, ...] = ()
    constants: tuple[float, ...] = ()
    root: bool = False


def number(value: float | Tensor) -> float:
    """A hyperparameter as a float."""
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def largest(node: Node, single: bool) -> float:
    """Second moments of a node from this on overflow in csrc, which adds up four products of deviations for an angle.

    Functions with kinks take theirs in the precision of the data, all others in double precision.
    """
    kinked = isinstance(node, Pointwise) and node.dual.kinked
    return torch.finfo(torch.float32 if single and kinked else torch.float64).max / 4


def operations(
    node: Node,
    kept: set[str],
    negative: bool,
    axes: Callable[[tuple[int, ...]], tuple[float, float]],
    table: Interpolant | None = None,
    unit: float = 1.0,
) -> list[Operation]:
    """The operations of one elementwise step.

    `kept`: names of the numbers that pairs have of it; `negative`: whether the covariance may be; `axes`: as csrc's flags;
    `table`: of a function that has no closed form; `unit`: what the compiled ReLU leaves out (`UNIT` in csrc).
    """
    if isinstance(node, Affine):
        w2, b2, grow, shift = (number(v) for v in (node.w2, node.b2, node.grow, node.shift))
        return [Operation(Kind.AFFINE, node, (), (w2 / node.taps, b2, grow / node.taps, shift))]
    if isinstance(node, Pointwise):
        return _pointwise(node, negative, axes, table, unit)
    if isinstance(node, Gain):
        return [Operation(Kind.GAIN, node, (), axes(node.axes))]
    if isinstance(node, Normalize):
        if len(node.inputs) > 1:
            raise NotNative(f"{node.layer}: a normalisation of groups of channels has no compiled rule")
        slots = ("scale", "v") + (("shift", "mean") if "shift" in kept else ())
        return [Operation(Kind.NORMALIZE, node, slots, (*axes(node.trained), float(node.bias)))]
    if isinstance(node, Dropout):
        return [Operation(Kind.DROPOUT, node, ("v",) if "v" in kept else (), (1 / node.keep - 1,))]
    if isinstance(node, Combine):
        return [Operation(Kind.MEANS, node, tuple(str(k) for k in node.biased))] if len(node.biased) > 1 else []
    if isinstance(node, Channels):
        return []
    raise NotNative(f"{node.layer}: {type(node).__name__} has no compiled rule")


def _pointwise(node: Pointwise, negative: bool, axes: Callable, table: Interpolant | None, unit: float) -> list[Operation]:
    kind, constants = dual_constants(node.dual, negative, unit) if table is None else (Kind.TABLE, table.constants)
    out = [Operation(kind, node, () if kind == Kind.AFFINE else ("v",), constants, root=True)]
    if node.gain is not None and not isinstance(node.dual, Sign):
        if not isinstance(node.dual, ABReLU):
            raise NotNative(f"{node.layer}: a trained gain before {node.dual} has no compiled rule")
        out.append(Operation(Kind.GAIN, node, (), axes(node.gain)))  # x f'(x) = f(x)
    return out


def dual_constants(dual: Dual, negative: bool = True, unit: float = 1.0) -> tuple[Kind, tuple[float, ...]]:
    """The kind of a function, and its constants in the order that csrc/duals.hpp states."""
    if type(dual) is ABReLU:
        a, b = number(dual.a), number(dual.b)
        if a == b:
            return Kind.AFFINE, (a * a, 0.0, 0.0, 0.0)
        return Kind.RELU, ((a * a + b * b) / 2, unit * (a - b) ** 2 / (2 * math.pi), float(negative), 0.0)
    if type(dual) is Sign:
        return Kind.SIGN, ()
    if type(dual) is Erf:
        a, b, c = (number(p) for p in (dual.a, dual.b, dual.c))
        return Kind.ERF, (2 * b * b, 2 / math.pi * a * a, c * c, 4 / math.pi * (a * b) ** 2)
    if type(dual) is GELU:
        return Kind.GELU, ()
    if type(dual) is Sin:
        a, b, c = (number(p) for p in (dual.a, dual.b, dual.c))
        return Kind.WAVE, (a * a / 2, b * b, math.cos(2 * c))
    if type(dual) is RBF:
        return Kind.RBF, (number(dual.gamma),)
    raise NotNative(f"{dual} has no compiled rule")


def has_closed_form(dual: Dual) -> bool:
    """Whether csrc has a formula for the function, so that it needs no table."""
    try:
        dual_constants(dual)
    except NotNative:
        return False
    return True


def keeps_sign(dual: Dual) -> bool:
    """Whether E f f' >= 0 for every angle."""
    return type(dual) is ABReLU and number(dual.a) * number(dual.b) <= 0


def narrowed(kept: Tensor, root: bool) -> Tensor:
    """Kept numbers of a node, (N, *S) -> (N, positions)."""
    kept = kept.detach().flatten(1) if kept.ndim > 1 else kept.detach()[:, None]
    return torch.sqrt(kept.clamp_min(0)) if root else kept
