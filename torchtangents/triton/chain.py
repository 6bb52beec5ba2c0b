"""Fully connected networks: a matrix product in float64, then every layer in one pass over it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..covariance.node import Node
from ..engine.lowering import Lowering
from ..engine.products import CLOSE
from ..engine.progress import watched
from ..engine.segments import Gather
from . import kernels
from .launch import Numbers, blocks, grid, operations

_BYTES = 1 << 29  # of a product at a time


class Chain:
    """A network without branches or positions, from the data to one output."""

    def __init__(
        self, low: Lowering, ntk: bool, numbers: Numbers, place: Callable[[Node, str, bool], int], x1: Tensor, x2: Tensor,
        shared: bool,
    ):  # fmt: skip
        (segment,) = low.segments
        (step,) = segment.steps
        self.x1, self.x2, self.shared, self.ntk, self.numbers = x1, x2, shared, ntk, numbers
        self.wide, self.exact = x1.dtype == torch.float64 or numbers.one.dtype == torch.float64, segment.planes[0][3]
        places = [[place(o.node, name, o.root) for name in o.slots] for o in step.operations]
        self.table = operations(step.operations, places, numbers, (1.0, 0.0))

    @staticmethod
    def fits(low: Lowering) -> bool:
        """Whether the program is one."""
        return len(low.segments) == 1 and len(low.segments[0].steps) == 1 and low.segments[0].steps[0].gather == Gather.MATRIX

    def run(self, tile: int | None, progress: bool | None) -> list[Tensor]:
        """NNGP and NTK, (N1, N2) each."""
        x1, x2 = self.x1.double(), self.x2.double()
        if self.shared:
            x2 = x1
        (n1, channels), n2 = x1.shape, len(x2)
        norm1 = x1.square().mean(1)
        norm2 = norm1 if self.shared else x2.square().mean(1)
        dtype = torch.float64 if self.wide else torch.float32
        out = [x1.new_empty(n1, n2, dtype=dtype) for _ in range(1 + self.ntk)]
        rows = tile or max(1, _BYTES // (8 * max(n2, 1)))
        for i in watched([slice(i, min(n1, i + rows)) for i in range(0, n1, rows)], progress):
            product = torch.addmm(x1.new_empty(()), x1[i], x2.T, beta=0, alpha=1 / channels)
            block = blocks(n2, len(product))
            kernels.chain[grid(n2, len(product), block)](
                product, out[0][i], out[-1][i], norm1, norm2, x1, x2, self.numbers.one, self.numbers.two, self.table.slots,
                self.table.consts, self.table.tables, len(product), n2, i.start, channels, CLOSE[torch.float64],
                NTK=self.ntk, EXACT=self.exact, WIDE=self.wide, SHARED=self.shared, RB=block[0], CB=block[1],
                **self.table.options,
            )  # fmt: skip
        if self.shared:
            for part in out:
                upper = part.triu()
                part.copy_(upper + upper.triu(1).mT)
        return out
