"""Means, sums and pools of torch on recorded values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from ..covariance.layout import normalize_dim
from ..covariance.pooling import adaptive, pool
from ..covariance.refusal import refuse
from .symbol import Symbol


def _reduced(recorder: Any, input: Symbol, dim: Any, keepdim: bool, average: bool) -> Symbol:
    if dim is None:
        refuse("a mean or sum over every axis mixes inputs and channels; expected dim= with axes of positions")
    dims = [normalize_dim(d, input.ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    if 0 in dims:
        refuse("a mean or sum over the batch axis has no rule")
    state = input.current()
    if any(-1 in state.layout[d - 1] for d in dims):
        refuse("a mean or sum over channels has no rule at infinite width; expected axes of positions")
    state = state.totals(tuple(tag for d in sorted(set(dims)) for tag in state.layout[d - 1]), average)
    if not keepdim:
        state = state.squeeze(tuple(d - 1 for d in dims))
    return recorder.symbol(state, input)


def _mean(recorder: Any, input: Symbol, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None) -> Symbol:
    return _reduced(recorder, input, axis if dim is None else dim, keepdim, True)


def _sum(recorder: Any, input: Symbol, dim: Any = None, keepdim: bool = False, *, axis: Any = None, dtype: Any = None) -> Symbol:
    return _reduced(recorder, input, axis if dim is None else dim, keepdim, False)


def _avg_pool(n: int):
    def handle(
        recorder: Any,
        input: Symbol,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Symbol:
        state = input.current()
        if divisor_override:
            state = pool(state, n, kernel_size, stride, padding, ceil_mode, average=False) * (1 / divisor_override)
        else:
            state = pool(state, n, kernel_size, stride, padding, ceil_mode, count_include_pad)
        return recorder.symbol(state, input)

    return handle


def _adaptive(n: int):
    def handle(recorder: Any, input: Symbol, output_size: Any) -> Symbol:
        sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
        return recorder.symbol(adaptive(input.current(), n, sizes), input)

    return handle


_T = torch.Tensor
POOLING = {
    **dict.fromkeys((torch.mean, _T.mean), _mean),
    **dict.fromkeys((torch.sum, _T.sum), _sum),
    **dict.fromkeys((F.avg_pool1d, torch.avg_pool1d), _avg_pool(1)),
    **dict.fromkeys((F.avg_pool2d, torch._C._nn.avg_pool2d), _avg_pool(2)),
    **dict.fromkeys((F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d), _adaptive(1)),
    **dict.fromkeys((F.avg_pool3d, torch._C._nn.avg_pool3d), _avg_pool(3)),
    F.adaptive_avg_pool2d: _adaptive(2),
    F.adaptive_avg_pool3d: _adaptive(3),
}
