"""Which axes of an output a kernel keeps and which it averages."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor


class Axes:
    """The axes of an output (N, *O) as (N, K, C): K outputs that are kept, C that are traced.

    Args:
        output: the output of some samples, (N, *O).
        trace_axes: axes of it that are contracted and divided by their size, as in neural-tangents; (-1,) of an output (N,)
            is none.

    Raises:
        ValueError: an axis that is not there, twice, or that of the samples.

    Example:
        >>> import torch
        >>> from torchtangents.empirical.axes import Axes
        >>> axes = Axes(torch.ones(5, 2, 3), (1,))
        >>> axes.kept, axes.split(torch.ones(5, 2, 3)).shape
        ((3,), torch.Size([5, 3, 2]))
    """

    def __init__(self, output: Tensor, trace_axes: Iterable[int] | int = (-1,)):
        n = output.ndim
        given = (trace_axes,) if isinstance(trace_axes, int) else tuple(trace_axes)
        if n == 1 and given == (-1,):
            given = ()
        if any(not isinstance(a, int) or not -n <= a < n for a in given):
            raise ValueError(f"trace_axes: expected axes of an output {tuple(output.shape)}, got {given}")
        traced = [a % n for a in given]
        if 0 in traced or len(set(traced)) < len(traced):
            raise ValueError(f"trace_axes: expected different axes of an output, none of them that of the samples, got {given}")
        self.shape = tuple(output.shape[1:])
        self.traced = [a - 1 for a in traced]
        self._order = [a for a in range(n - 1) if a not in self.traced] + self.traced
        self.kept = tuple(self.shape[a] for a in range(n - 1) if a not in self.traced)
        self.k, self.c = math.prod(self.kept), math.prod(self.shape[a] for a in self.traced)

    def split(self, t: Tensor) -> Tensor:
        """(*B, *O) to (*B, K, C)."""
        lead = t.ndim - len(self.shape)
        return t.permute(*range(lead), *(lead + a for a in self._order)).reshape(*t.shape[:lead], self.k, self.c)

    def merge(self, t: Tensor) -> Tensor:
        """(*B, K, C) to (*B, *O)."""
        lead = t.ndim - 2
        back = sorted(range(len(self._order)), key=lambda i: self._order[i])
        t = t.reshape(*t.shape[:lead], *(self.shape[a] for a in self._order))
        return t.permute(*range(lead), *(lead + i for i in back))
