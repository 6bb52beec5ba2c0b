"""One step of a segment as a kernel launch, with its tables on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..covariance.refusal import NotNative
from ..cuda import interpreted
from ..engine.operations import Kind, Operation
from .cells import Cells

_SLOTS = 8  # that one operation reads
_CONSTANTS = 6
_TILE = 1 << 16 if interpreted() else 512  # pairs x cells of a program
_ACROSS = 1 << 12 if interpreted() else 128


@dataclass
class Numbers:
    """Per-input numbers of both sides, (N, numbers) each, and where those of every slot begin."""

    one: Tensor
    two: Tensor
    begin1: list[int]
    begin2: list[int]


@dataclass
class Operations:
    """The operations of a step as tables of the kernels."""

    kinds: tuple[int, ...]
    counts: tuple[int, ...]
    slots: Tensor
    consts: Tensor
    tables: Tensor

    @property
    def options(self) -> dict:
        """For a launch."""
        return {"KINDS": self.kinds or (0,), "COUNTS": self.counts or (0,), "N": len(self.kinds)}


def operations(given: list[Operation], places: list[list[int]], numbers: Numbers, weights: tuple[float, float]) -> Operations:
    """The tables of some operations, whose slots are `places`; `weights` are those of a sum."""
    device = numbers.one.device
    slots, consts, tables = [numbers.one.shape[1], numbers.two.shape[1]], list(weights), []
    for op, place in zip(given, places, strict=True):
        if len(place) > _SLOTS:
            raise NotNative(f"{op.node.layer}: more than {_SLOTS} branches with means have no rule on this device")
        for begin in (numbers.begin1, numbers.begin2):
            slots += [begin[s] for s in place] + [0] * (_SLOTS - len(place))
        own = list(op.constants)
        if op.kind == Kind.RELU:
            level, bend, _, folded = own
            own = [level / bend, 1.0 if folded else bend]
        if op.kind == Kind.TABLE:
            own, table = [*own[:4], float(len(tables))], own[4:]
            tables += table
        consts += own + [0.0] * (_CONSTANTS - len(own))
    return Operations(
        tuple(int(op.kind) for op in given),
        tuple(len(place) for place in places),
        torch.tensor(slots, dtype=torch.int64, device=device),
        torch.tensor(consts, dtype=torch.float64, device=device),
        torch.tensor(tables or [0.0], dtype=torch.float64, device=device),
    )


def blocks(cells: int, pairs: int) -> tuple[int, int]:
    """Pairs and cells of a program, powers of two."""
    across = min(_ACROSS, _power(cells))
    return min(_power(pairs), _TILE // across), across


def grid(cells: int, pairs: int, block: tuple[int, int]) -> tuple[int, int]:
    """Programs along cells and pairs."""
    return -(-cells // block[1]), -(-pairs // block[0])


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


def empty(cells: Cells, pairs: int, fields: int, dtype: torch.dtype) -> Tensor:
    """Memory of a value, (fields, pairs, cells)."""
    return torch.empty(fields, pairs, cells.total, dtype=dtype, device=cells.device)
