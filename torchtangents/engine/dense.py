"""The oracle: the same programs on whole covariances (N1, N2, *S1, *S2), with plain matrices in place of planes.

It shares the recorded steps and the duals with the planes executor, and nothing else: no planes, no needs, no runs,
no squared distances. Slow and large; for tests.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from ..covariance.combine import Combine, Mixture
from ..covariance.laws import Affine, Dropout, Gain, Input
from ..covariance.maps import Linear, Sum, Trace, Window
from ..covariance.node import Node
from ..covariance.pair import Pair
from ..covariance.pointwise import Normalize, Pointwise
from ..graph.program import Program


@dataclass
class Whole:
    """A covariance across all pairs of inputs of the joint batch, and the means: everything at once."""

    nngp: Tensor  # (N, N, *S, *S)
    ntk: Tensor
    mean: Tensor  # (N, *S)

    @property
    def n(self) -> int:
        """Number of position axes."""
        return self.mean.ndim - 1

    def variances(self) -> Tensor:
        """(N, *S)."""
        size = self.mean.shape[1:].numel()
        flat = self.nngp.reshape(len(self.mean), len(self.mean), size, size)
        v = flat.diagonal(dim1=0, dim2=1).diagonal(dim1=0, dim2=1)
        return v.reshape(self.mean.shape)

    def rows(self, v: Tensor) -> Tensor:
        """Per-input numbers at the first input and position."""
        return v.reshape(len(v), 1, *v.shape[1:], *(1,) * self.n)

    def columns(self, v: Tensor) -> Tensor:
        """Per-input numbers at the second input and position."""
        return v.reshape(1, len(v), *(1,) * self.n, *v.shape[1:])


def dense_kernels(program: Program, ntk: bool = True) -> tuple[Tensor, Tensor]:
    """(nngp, ntk) of one batch with itself: (N, N, *S, *S)."""
    values: dict[Node, Whole] = {}
    for step in program.steps:
        values[step] = run(step, *(values[i] for i in step.inputs))
    out = values[program.root]
    return out.nngp, out.ntk


@functools.singledispatch
def run(step: Node, *values: Whole) -> Whole:
    """One step on whole covariances."""
    raise TypeError(f"no dense rule for {type(step).__name__}")


def _mapped(x: Whole, matrix: Tensor, axis: int, contract: bool = False) -> Whole:
    """K' = A K A^T along one axis; `contract` removes the axis that is left with one position."""

    def both(k: Tensor) -> Tensor:
        for dim in (2 + axis, 2 + x.n + axis):
            k = torch.tensordot(k, matrix, ([dim], [1])).movedim(-1, dim)
        return k.squeeze(2 + x.n + axis).squeeze(2 + axis) if contract else k

    mean = torch.tensordot(x.mean, matrix, ([1 + axis], [1])).movedim(-1, 1 + axis)
    return Whole(both(x.nngp), both(x.ntk), mean.squeeze(1 + axis) if contract else mean)


@run.register
def _(step: Input) -> Whole:
    x = step.values
    n, c = x.shape[:2]
    flat = x.reshape(n, c, -1)
    k = torch.einsum("acp,bcq->abpq", flat, flat) / c
    k = k.reshape(n, n, *step.size, *step.size)
    return Whole(k, torch.zeros_like(k), x.mean(1))


@run.register
def _(step: Linear, x: Whole) -> Whole:
    matrix = torch.zeros(step.rows.size, step.rows.size_in, dtype=x.nngp.dtype)
    for p in range(step.rows.size):
        for i, c in zip(step.rows.index[p], step.rows.coef[p], strict=True):
            if i >= 0:
                matrix[p, i] += c
    return _mapped(x, matrix, step.axis)


@run.register
def _(step: Window, x: Whole) -> Whole:
    def tied(v: Tensor, dims: tuple[int, ...]) -> Tensor:
        total = torch.zeros(())
        for k in step.offsets:
            index = torch.arange(step.size[step.axis]) * step.step + k
            part = v
            for dim in dims:
                part = part.index_select(dim, index)
            total = total + part
        return total

    dims = (2 + step.axis, 2 + x.n + step.axis)
    return Whole(tied(x.nngp, dims), tied(x.ntk, dims), tied(x.mean, (1 + step.axis,)))


@run.register
def _(step: Sum, x: Whole) -> Whole:
    matrix = torch.full((1, step.positions), step.weight, dtype=x.nngp.dtype)
    return _mapped(x, matrix, step.axis, contract=True)


@run.register
def _(step: Trace, x: Whole) -> Whole:
    def traced(k: Tensor) -> Tensor:
        return k.diagonal(dim1=2 + step.axis, dim2=2 + x.n + step.axis).mean(-1)

    return Whole(traced(x.nngp), traced(x.ntk), x.mean.mean(1 + step.axis))


@run.register
def _(step: Affine, x: Whole) -> Whole:
    k = x.nngp / step.taps
    ntk = step.grow * k + step.shift + step.w2 * x.ntk / step.taps
    return Whole(step.w2 * k + step.b2, ntk, torch.zeros_like(x.mean))


def _at_equal_positions(x: Whole, k: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in axes:
        size = x.mean.shape[1 + axis]
        shape = [1] * k.ndim
        shape[2 + axis] = shape[2 + x.n + axis] = size
        k = k * torch.eye(size, dtype=k.dtype).reshape(shape)
    return k


@run.register
def _(step: Gain, x: Whole) -> Whole:
    return Whole(x.nngp, x.ntk + _at_equal_positions(x, x.nngp, step.axes), x.mean)


@run.register
def _(step: Pointwise, x: Whole) -> Whole:
    v = x.variances()
    pair = Pair(x.rows(v), x.columns(v), x.nngp)
    ntk = step.dual.slope(pair) * x.ntk
    if step.gain is not None:
        ntk = ntk + _at_equal_positions(x, step.dual.gain(pair), step.gain)
    return Whole(step.dual.nngp(pair), ntk, step.dual.mean(v))


@run.register
def _(step: Normalize, x: Whole) -> Whole:
    v, dims = x.variances(), tuple(1 + a for a in step.axes)
    shift = torch.zeros_like(x.mean)
    if step.center:
        shift = x.mean.mean(dims, keepdim=True).expand_as(x.mean) if dims else x.mean
    k = x.nngp - x.rows(shift) * x.columns(x.mean) - x.rows(x.mean) * x.columns(shift) + x.rows(shift) * x.columns(shift)
    v = v - 2 * shift * x.mean + shift * shift
    scale = ((v.mean(dims, keepdim=True).expand_as(v) if dims else v) + step.eps).rsqrt()
    both = x.rows(scale) * x.columns(scale)
    ntk = both * x.ntk
    if step.bias:
        ntk = ntk + _at_equal_positions(x, torch.ones_like(ntk), step.axes)
    return Whole(both * k, ntk, (x.mean - shift) * scale)


@run.register
def _(step: Combine, *xs: Whole) -> Whole:
    c = step.coefficients
    k: Tensor | float = 0.0
    for a, x in enumerate(xs):
        for b, y in enumerate(xs):
            k = k + c[a] * c[b] * (x.nngp if a == b else x.rows(x.mean) * x.columns(y.mean))
    ntk = sum(c[a] ** 2 * x.ntk for a, x in enumerate(xs))
    return Whole(k, ntk, sum(c[a] * x.mean for a, x in enumerate(xs)))  # type: ignore[arg-type]


@run.register
def _(step: Mixture, *xs: Whole) -> Whole:
    def mixed(name: str) -> Tensor:
        return sum(w * getattr(x, name) for w, x in zip(step.weights, xs, strict=True))  # type: ignore[return-value]

    return Whole(mixed("nngp"), mixed("ntk"), mixed("mean"))


@run.register
def _(step: Dropout, x: Whole) -> Whole:
    size = x.mean.numel()
    order = [0, *range(2, 2 + x.n), 1, *range(2 + x.n, 2 + 2 * x.n)]
    same = torch.eye(size, dtype=x.nngp.dtype).reshape(*x.mean.shape, *x.mean.shape)
    factor = 1 + (1 / step.keep - 1) * same.permute([order.index(d) for d in range(2 + 2 * x.n)])
    return Whole(x.nngp * factor, x.ntk * factor, x.mean)
