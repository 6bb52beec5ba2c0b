"""Covariances of data without positions, by matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from ..covariance.laws import Input
from ..graph.program import Program

CLOSE = {torch.float32: 0.05, torch.float64: 1e-3}  # D / v below which csrc computes a pair again, from differences
_MOST = 0.02  # of all pairs; more are better served by a product in float64
_SAMPLE = 64  # inputs of each side


class Products:
    """Rows of x1 x2^T / C, a few at a time, with what csrc needs to mend close pairs."""

    def __init__(self, x1: Tensor, x2: Tensor):
        self.x1, self.x2 = x1, x2
        self.norm1 = norms(x1).to(x1.dtype)
        self.norm2 = self.norm1 if x2 is x1 else norms(x2).to(x2.dtype)
        self.buffer = x1.new_empty(0)

    def rows(self, i: slice) -> tuple[Tensor, Tensor, Tensor, float]:
        """(products of some rows of x1 with all of x2, second moments of x1, of x2, how close is close)."""
        x = self.x1[i]
        if self.buffer.shape != (len(x), len(self.x2)):
            self.buffer = x.new_empty(len(x), len(self.x2))
        torch.mm(x, self.x2.T, out=self.buffer)
        return self.buffer.div_(x.shape[1]), self.norm1, self.norm2, CLOSE[x.dtype]


def norms(x: Tensor) -> Tensor:
    """The second moment of every input over its channels, (N, C) -> (N,) in float64."""
    return torch.linalg.vector_norm(x, dim=1, dtype=torch.float64).square() / x.shape[1]


def many_are_close(first: Program, second: Program) -> bool:
    """Whether a matrix product in single precision would leave many pairs to be computed from differences."""
    if any(step.size for step in first.steps) or not all(any(isinstance(s, Input) for s in p.steps) for p in (first, second)):
        return False
    x1, x2 = (next(s.values.detach() for s in p.steps if isinstance(s, Input)) for p in (first, second))
    x1, x2 = (x[:: max(1, len(x) // _SAMPLE)].double() for x in (x1, x2))
    total = norms(x1)[:, None] + norms(x2)[None]
    distance = total - 2 * x1 @ x2.T / x1.shape[1]
    close = distance < CLOSE[torch.float32] * total / 2
    if second is first:
        close.fill_diagonal_(False)
    return bool(close.double().mean() > _MOST)
