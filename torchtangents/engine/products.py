"""Covariances of data without positions, by matrix products."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor

from ..covariance.laws import Input
from ..graph.program import Program

CLOSE = {torch.float32: 0.05, torch.float64: 1e-3}  # D / v below which csrc computes a pair again, from differences
_MOST = 0.02  # of all pairs; more are better served by a product in float64
_PRODUCTS = 5e10  # multiplications at a time
_SAMPLE = 64  # inputs of each side


class Products:
    """x1 x2^T / C a few rows at a time, with the second moments that tell close pairs."""

    def __init__(self, x1: Tensor, x2: Tensor):
        self.x1, self.x2 = x1, x2
        self.norm1 = norms(x1)
        self.norm2 = self.norm1 if x2 is x1 else norms(x2)

    @property
    def step(self) -> int:
        """Rows of x1 at a time: about a second of products, and where both sets are one, few of them below the diagonal."""
        n, channels = self.x2.shape
        step = max(256, int(_PRODUCTS / (max(n, 1) * channels)))
        return step if self.x2 is not self.x1 else min(step, max(256, n // 8))

    def fill(self, i: slice, out: Tensor) -> None:
        """Products of some rows of x1 into `out` (N1, N2)."""
        start = i.start if self.x2 is self.x1 else 0
        x, block = self.x1[i], out[i, start:]
        torch.addmm(block, x, self.x2[start:].T, beta=0, alpha=1 / x.shape[1], out=block)


def norms(x: Tensor) -> Tensor:
    """The second moment of every input over its channels, (N, C) -> (N,), summed in float64."""
    out = x.new_empty(len(x))
    importlib.import_module("torchtangents._native").second_moments(x.contiguous(), out)
    return out


def too_coarse(first: Program, second: Program) -> bool:
    """Whether the matrix product of a fully connected network would not do in single precision."""
    if any(step.size for step in first.steps) or not all(any(isinstance(s, Input) for s in p.steps) for p in (first, second)):
        return False
    x1, x2 = (next(s.values.detach() for s in p.steps if isinstance(s, Input)) for p in (first, second))
    return _rounded() or _many_are_close(x1, x2, second is first)


def _rounded() -> bool:
    """Whether torch was allowed to round what such a product multiplies, to bfloat16 say, by any of its settings."""
    return torch.backends.mkldnn.matmul.fp32_precision in ("bf16", "tf32")


def _many_are_close(x1: Tensor, x2: Tensor, shared: bool) -> bool:
    """Whether many pairs would have to be computed from differences, by a sample."""
    x1, x2 = (x[:: max(1, len(x) // _SAMPLE)] for x in (x1, x2))
    total = (norms(x1)[:, None] + norms(x2)[None]) * x1.shape[1]
    close = total - 2 * x1 @ x2.T < CLOSE[torch.float32] / 2 * total
    if shared:
        close.fill_diagonal_(False)
    return int(close.count_nonzero()) > _MOST * close.numel()
