"""Fully connected networks: a matrix product in float64, then every layer in one pass over it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..covariance.node import Node
from ..engine.lowering import Lowering
from ..engine.operations import Kind, Operation
from ..engine.products import CLOSE
from ..engine.progress import watched
from ..engine.segments import Gather
from . import kernels
from .launch import FUSED, Numbers, blocks, grid, operations, patch
from .moments import operated

_BYTES = 1 << 29  # of a product at a time


class Chain:
    """A network without branches or positions, from the data to one output; `rules` finds per-input numbers of any step."""

    def __init__(
        self, low: Lowering, ntk: bool, rules: Callable[[], Numbers], place: Callable[[Node, str, bool], int], x1: Tensor,
        x2: Tensor, shared: bool,
    ):  # fmt: skip
        (segment,) = low.segments
        (step,) = segment.steps
        self.x1, self.x2, self.shared, self.ntk = x1, x2, shared, ntk
        self.wide, self.exact = not low.single, segment.planes[0][3]
        self.norm1 = _second_moments(x1)
        self.norm2 = self.norm1 if shared else _second_moments(x2)
        if {o.kind for o in step.operations} <= {Kind.AFFINE, Kind.RELU}:
            one, two = (_deviations(v, step.operations) for v in (self.norm1, self.norm2))
            found = Numbers(one, two, [*range(one.shape[1])], [*range(two.shape[1])])
        else:
            found = rules()
        self.numbers = Numbers(self._beside(found.one), self._beside(found.two), found.begin1, found.begin2)
        places = [[place(o.node, name, o.root) for name in o.slots] for o in step.operations]
        self.table = operations(step.operations, places, self.numbers, (1.0, 0.0))

    def _beside(self, numbers: Tensor) -> Tensor:
        """In the kernel's precision, those of one slot beside each other in memory."""
        return numbers.to(torch.float64 if self.wide else torch.float32).T.contiguous().T

    @staticmethod
    def fits(low: Lowering) -> bool:
        """Whether the program is one."""
        return len(low.segments) == 1 and len(low.segments[0].steps) == 1 and low.segments[0].steps[0].gather == Gather.MATRIX

    def run(self, tile: int | None, progress: bool | None) -> list[Tensor]:
        """NNGP and NTK, (N1, N2) each."""
        x1, x2 = self.x1, self.x2
        right = x2.double()
        (n1, channels), n2 = x1.shape, len(x2)
        dtype = torch.float64 if self.wide else torch.float32
        out = [x1.new_empty(n1, n2, dtype=dtype) for _ in range(1 + self.ntk)]
        rows = tile or max(1, _BYTES // (8 * max(n2, 1)))
        for i in watched([slice(i, min(n1, i + rows)) for i in range(0, n1, rows)], progress):
            left = right[i] if self.shared else x1[i].double()
            product = torch.addmm(right.new_empty(()), left, right.T, beta=0, alpha=1 / channels)
            block = blocks(n2, len(product), patch(self.wide))
            kernels.chain[grid(n2, len(product), block)](
                product, out[0][i], out[-1][i], self.norm1, self.norm2, x1, x2, self.numbers.one, self.numbers.two,
                self.table.slots, self.table.consts, self.table.tables, len(product), n2, i.start, channels, CLOSE[torch.float64],
                NTK=self.ntk, EXACT=self.exact, WIDE=self.wide, SHARED=self.shared, RB=block[0], CB=block[1],
                **self.table.repeated, **FUSED,
            )  # fmt: skip
        if self.shared:
            for part in out:
                upper = part.triu()
                part.copy_(upper + upper.triu(1).mT)
        return out


def _second_moments(x: Tensor) -> Tensor:
    """Of every row, in float64, without a copy of the data in float64."""
    return torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).square() / x.shape[1]


def _deviations(v: Tensor, operations: list[Operation]) -> Tensor:
    """Before every ReLU, (N, ReLUs), from second moments of the data."""
    found, _ = operated(v, operations)
    return torch.stack(found, 1) if found else v.new_zeros(len(v), 0)
