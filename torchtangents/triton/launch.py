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
_TILE = 1 << 16 if interpreted() else 128  # pairs x cells of a program: few registers (32 in double), many warps
_PATCH = (1 << 16, 1 << 16) if interpreted() else (1024, 512)  # the same of a chain, in single and double precision
_ACROSS = 1 << 12 if interpreted() else 128
FUSED = {"enable_fp_fusion": True}  # multiply-adds in one instruction, which Triton does not do unless it is asked
_FOLDED = 13  # a ReLU with its constant factor in what reads it
_RATIONAL = {
    Kind.AFFINE,
    Kind.RELU,
    _FOLDED,
    Kind.GAIN,
    Kind.NORMALIZE,
    Kind.DROPOUT,
    Kind.MEANS,
}  # use constants as the values are


@dataclass
class Numbers:
    """Per-input numbers of both sides, (N, numbers) each, and where those of every slot begin."""

    one: Tensor
    two: Tensor
    begin1: list[int]
    begin2: list[int]

    def to(self, dtype: torch.dtype) -> Numbers:
        """In another precision."""
        return Numbers(self.one.to(dtype), self.two.to(dtype), self.begin1, self.begin2)


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

    @property
    def repeated(self) -> dict:
        """For a launch that repeats the shortest period of its operations, and ends with the rest of them."""
        each = list(zip(self.kinds, self.counts, strict=True))
        n = next((p for p in range(1, len(each)) if all(each[i] == each[i - p] for i in range(p, len(each)))), len(each))
        repeats = len(each) // max(n, 1)
        tail = each[repeats * n :] or [(0, 0)]
        (kinds, counts), (last, held) = (zip(*part, strict=True) for part in (each[:n] or [(0, 0)], tail))
        out = {"KINDS": kinds, "COUNTS": counts, "N": n, "repeats": repeats}
        return out | {"TAIL": last, "TAIL_COUNTS": held, "M": len(each) - repeats * n}


def operations(given: list[Operation], places: list[list[int]], numbers: Numbers, weights: tuple[float, float]) -> Operations:
    """The tables of some operations, whose slots are `places`; `weights` are those of a sum."""
    device = numbers.one.device
    sides = (numbers.one, numbers.begin1), (numbers.two, numbers.begin2)
    slots, consts, tables = [n.stride(0) for n, _ in sides], list(weights), []
    kinds: list[int] = []
    for op, place in zip(given, places, strict=True):
        kinds.append(op.kind)
        if len(place) > _SLOTS:
            raise NotNative(f"{op.node.layer}: more than {_SLOTS} branches with means have no rule on this device")
        for n, begin in sides:
            slots += [begin[s] * n.stride(1) for s in place] + [0] * (_SLOTS - len(place))
        own = list(op.constants)
        if op.kind == Kind.RELU:
            level, bend, _, folded = own
            own = [level / bend, bend]
            kinds[-1] = _FOLDED if folded else Kind.RELU
        if op.kind == Kind.TABLE:
            own, table = [*own[:4], float(len(tables))], own[4:]
            tables += table
        consts += own + [0.0] * (_CONSTANTS - len(own))
    return Operations(
        tuple(map(int, kinds)),
        tuple(len(place) for place in places),
        torch.tensor(slots, dtype=torch.int64, device=device),
        torch.tensor(consts, dtype=numbers.one.dtype if {*kinds} <= _RATIONAL else torch.float64, device=device),
        torch.tensor(tables or [0.0], dtype=torch.float64, device=device),
    )


def blocks(cells: int, pairs: int, size: int = _TILE) -> tuple[int, int]:
    """Pairs and cells of a program, powers of two."""
    across = min(_ACROSS, _power(cells))
    return min(_power(pairs), size // across), across


def patch(wide: bool) -> int:
    """Pairs of a program of a chain."""
    return _PATCH[wide]


def grid(cells: int, pairs: int, block: tuple[int, int]) -> tuple[int]:
    """Programs, those of the same pairs beside each other."""
    return (-(-cells // block[1]) * -(-pairs // block[0]),)


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()


def empty(cells: Cells, pairs: int, fields: int, dtype: torch.dtype) -> Tensor:
    """Memory of a value, (fields, pairs, cells)."""
    return torch.empty(fields, pairs, cells.total, dtype=dtype, device=cells.device)
