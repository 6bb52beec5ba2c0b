"""The oracle: the same programs on whole covariances (N1, N2, *S1, *S2), with plain matrices in place of planes.

It shares the recorded steps and the duals with the planes executor, and nothing else: no planes, no needs, no runs,
no squared distances. Slow and large; for tests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..covariance.combine import Combine, Mixture
from ..covariance.correlated import Correlated
from ..covariance.laws import Affine, Dropout, Gain, Input
from ..covariance.maps import Linear, Sum, Trace, Window
from ..covariance.node import Node
from ..covariance.pair import Pair
from ..covariance.parts import Channels, Diagonal
from ..covariance.pointwise import Normalize, Pointwise
from ..covariance.product import Expanded, Product, Weighted
from ..graph.program import Program

Steps = tuple  # the same step of both programs


@dataclass
class Cov:
    """One covariance: across both data sets (batch 2), or of each input of one with itself (batch 1)."""

    k: Tensor  # (*batch, *Sa, *Sb)
    batch: int
    a: int  # which data set each side is
    b: int

    @property
    def n(self) -> int:
        """Number of position axes."""
        return (self.k.ndim - self.batch) // 2

    def left(self, v: Tensor) -> Tensor:
        """Per-input numbers (N, *S) at the first input and position."""
        lead = v.shape[:1] if self.batch == 1 else (len(v), 1)
        return v.reshape(*lead, *v.shape[1:], *(1,) * self.n)

    def right(self, v: Tensor) -> Tensor:
        """Per-input numbers at the second."""
        lead = v.shape[:1] if self.batch == 1 else (1, len(v))
        return v.reshape(*lead, *(1,) * self.n, *v.shape[1:])

    def sides(self, v: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.left(v[self.a]), self.right(v[self.b])

    def dims(self, axis: int) -> tuple[int, int]:
        """The dimensions of one spatial axis."""
        return self.batch + axis, self.batch + self.n + axis


@dataclass
class Whole:
    """Everything a step has: across, the NTK across, both self covariances, both means."""

    cross: Tensor
    ntk: Tensor
    own: tuple[Tensor, Tensor]
    mean: tuple[Tensor, Tensor]

    def variances(self) -> tuple[Tensor, Tensor]:
        """(N, *S) of both."""
        out = []
        for own, mean in zip(self.own, self.mean, strict=True):
            size = mean.shape[1:].numel()
            out.append(own.reshape(len(mean), size, size).diagonal(dim1=1, dim2=2).reshape(mean.shape))
        return out[0], out[1]

    def each(self, nngp: Callable[[Cov], Tensor], ntk: Callable[[Cov], Tensor], mean: Callable[[Tensor, int], Tensor]) -> Whole:
        """A rule for covariances, one for the NTK, one for means."""
        own = tuple(nngp(Cov(k, 1, i, i)) for i, k in enumerate(self.own))
        means = tuple(mean(m, i) for i, m in enumerate(self.mean))
        return Whole(nngp(Cov(self.cross, 2, 0, 1)), ntk(Cov(self.ntk, 2, 0, 1)), own, means)  # type: ignore[arg-type]


def dense_kernels(first: Program, second: Program) -> tuple[Tensor, Tensor]:
    """(nngp, ntk) of all pairs: (N1, N2, *S1, *S2)."""
    values: dict[Node, Whole] = {}
    for one, two in zip(first.steps, second.steps, strict=True):
        values[one] = run(one, two, *(values[i] for i in one.inputs))
        if first is second:  # equal inputs are exactly equal, however the sums were ordered
            own = values[one].cross.diagonal(dim1=0, dim2=1).movedim(-1, 0)
            values[one].own = (own, own)
    out = values[first.root]
    return out.cross, out.ntk


@functools.singledispatch
def run(step: Node, twin: Node, *values: Whole) -> Whole:
    """One step on whole covariances."""
    raise TypeError(f"no dense rule for {type(step).__name__}")


def _zero(m: Tensor, side: int) -> Tensor:
    return torch.zeros_like(m)


def _same(m: Tensor, side: int) -> Tensor:
    return m


def _congruent(x: Whole, matrices: tuple[Tensor, Tensor], axis: int) -> Whole:
    """K' = A1 K A2^T along one axis."""

    def both(c: Cov) -> Tensor:
        k = c.k
        for dim, matrix in zip(c.dims(axis), (matrices[c.a], matrices[c.b]), strict=True):
            k = torch.tensordot(k, matrix, ([dim], [1])).movedim(-1, dim)
        return k

    return x.each(both, both, lambda m, i: torch.tensordot(m, matrices[i], ([1 + axis], [1])).movedim(-1, 1 + axis))


@run.register
def _(step: Input, twin: Input) -> Whole:
    x1, x2 = (v.values.reshape(*v.values.shape[:2], -1) for v in (step, twin))
    cross = torch.einsum("acp,bcq->abpq", x1, x2) / x1.shape[1]
    cross = cross.reshape(len(x1), len(x2), *step.size, *twin.size)
    own = tuple(
        (torch.einsum("acp,acq->apq", x, x) / x.shape[1]).reshape(len(x), *s.size, *s.size) for x, s in ((x1, step), (x2, twin))
    )
    return Whole(cross, torch.zeros_like(cross), own, (step.values.mean(1), twin.values.mean(1)))  # type: ignore[arg-type]


@run.register
def _(step: Linear, twin: Linear, x: Whole) -> Whole:
    matrices = []
    for rows in (step.rows, twin.rows):
        matrix = torch.zeros(rows.size, rows.size_in, dtype=x.cross.dtype)
        for p in range(rows.size):
            for i, c in zip(rows.index[p], rows.coef[p], strict=True):
                if i >= 0:
                    matrix[p, i] += c
        matrices.append(matrix)
    return _congruent(x, (matrices[0], matrices[1]), step.axis)


@run.register
def _(step: Window, twin: Window, x: Whole) -> Whole:
    sizes = (step.size[step.axis], twin.size[step.axis])

    def tied(v: Tensor, places: tuple[tuple[int, int], ...]) -> Tensor:
        total = torch.zeros(())
        for k in step.offsets:
            part = v
            for dim, side in places:
                part = part.index_select(dim, torch.arange(sizes[side]) * step.step + k)
            total = total + part
        return total

    def both(c: Cov) -> Tensor:
        return tied(c.k, tuple(zip(c.dims(step.axis), (c.a, c.b), strict=True)))

    return x.each(both, both, lambda m, i: tied(m, ((1 + step.axis, i),)))


@run.register
def _(step: Sum, twin: Sum, x: Whole) -> Whole:
    matrices = tuple(torch.full((1, s.positions), s.weight, dtype=x.cross.dtype) for s in (step, twin))

    def squeezed(c: Cov) -> Tensor:
        return c.k.squeeze(c.dims(step.axis))

    return _congruent(x, matrices, step.axis).each(squeezed, squeezed, lambda m, i: m.squeeze(1 + step.axis))  # type: ignore[arg-type]


@run.register
def _(step: Trace, twin: Trace, x: Whole) -> Whole:
    def traced(c: Cov) -> Tensor:
        a, b = c.dims(step.axis)
        return c.k.diagonal(dim1=a, dim2=b).mean(-1)

    return x.each(traced, traced, lambda m, i: m.mean(1 + step.axis))


@run.register
def _(step: Affine, twin: Affine, x: Whole) -> Whole:
    w2 = step.w2 / step.taps
    ntk = step.grow / step.taps * x.cross + step.shift
    return x.each(lambda c: w2 * c.k + step.b2, lambda c: ntk + w2 * c.k, _zero)


def _equal_positions(c: Cov, k: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in axes:
        a, b = c.dims(axis)
        shape = [1] * k.ndim
        shape[a], shape[b] = k.shape[a], k.shape[b]
        k = k * torch.eye(k.shape[a], k.shape[b], dtype=k.dtype).reshape(shape)
    return k


@run.register
def _(step: Diagonal, twin: Diagonal, x: Whole) -> Whole:
    def own(c: Cov) -> Tensor:
        return _equal_positions(c, c.k, step.axes)

    return x.each(own, own, _same)


@run.register
def _(step: Channels, twin: Channels, x: Whole) -> Whole:
    return x


@run.register
def _(step: Gain, twin: Gain, x: Whole) -> Whole:
    return x.each(lambda c: c.k, lambda c: c.k + _equal_positions(c, x.cross, step.axes), _same)


@run.register
def _(step: Pointwise, twin: Pointwise, x: Whole) -> Whole:
    v = x.variances()

    def ntk(c: Cov) -> Tensor:
        pair = Pair(*c.sides(v), x.cross)
        out = step.dual.slope(pair) * c.k
        return out if step.gain is None else out + _equal_positions(c, step.dual.gain(pair), step.gain)

    def mean(m: Tensor, i: int) -> Tensor:
        return step.dual.mean(v[i]) if step.dual.finite else torch.zeros_like(m)  # nothing that reads it is recorded

    return x.each(lambda c: step.dual.nngp(Pair(*c.sides(v), c.k)), ntk, mean)


@run.register
def _(step: Normalize, twin: Normalize, x: Whole, *rest: Whole) -> Whole:
    dims, shift, scale = tuple(1 + a for a in step.axes), [], []
    whole = rest[0] if rest else x

    def level(m: Tensor) -> Tensor:
        return m.mean(dims, keepdim=True).expand_as(m) if dims else m

    for v, m in zip(whole.variances(), whole.mean, strict=True):
        shift.append(level(m) if step.center else torch.zeros_like(m))
        scale.append((level(v - 2 * shift[-1] * m + shift[-1] ** 2) + step.eps).rsqrt())

    def nngp(c: Cov) -> Tensor:
        (r1, r2), (s1, s2), (m1, m2) = c.sides(tuple(scale)), c.sides(tuple(shift)), c.sides(x.mean)  # type: ignore[arg-type]
        return r1 * r2 * (c.k - s1 * m2 - m1 * s2 + s1 * s2)

    def ntk(c: Cov) -> Tensor:
        r1, r2 = c.sides(tuple(scale))  # type: ignore[arg-type]
        return r1 * r2 * c.k + (_equal_positions(c, torch.ones_like(c.k), step.trained) if step.bias else 0)

    return x.each(nngp, ntk, lambda m, i: (m - shift[i]) * scale[i])


@run.register
def _(step: Combine, twin: Combine, *xs: Whole) -> Whole:
    c = step.coefficients

    def mean(i: int) -> Tensor:
        return sum(c[k] * x.mean[i] for k, x in enumerate(xs))  # type: ignore[return-value]

    def total(pick: Callable[[Whole], Tensor], kind: Cov) -> Tensor:
        out = sum(c[k] ** 2 * pick(x) for k, x in enumerate(xs))
        for k, x in enumerate(xs):
            for m, y in enumerate(xs):
                if k != m:
                    out = out + c[k] * c[m] * kind.left(x.mean[kind.a]) * kind.right(y.mean[kind.b])
        return out  # type: ignore[return-value]

    own = tuple(total(lambda x, i=i: x.own[i], Cov(xs[0].own[i], 1, i, i)) for i in (0, 1))
    cross = total(lambda x: x.cross, Cov(xs[0].cross, 2, 0, 1))
    return Whole(cross, sum(c[k] ** 2 * x.ntk for k, x in enumerate(xs)), own, (mean(0), mean(1)))  # type: ignore[arg-type]


@run.register
def _(step: Mixture, twin: Mixture, *xs: Whole) -> Whole:
    def mixed(parts: list[Tensor]) -> Tensor:
        return sum(w * p for w, p in zip(step.weights, parts, strict=True))  # type: ignore[return-value]

    own = tuple(mixed([x.own[i] for x in xs]) for i in (0, 1))
    mean = tuple(mixed([x.mean[i] for x in xs]) for i in (0, 1))
    return Whole(mixed([x.cross for x in xs]), mixed([x.ntk for x in xs]), own, mean)  # type: ignore[arg-type]


@run.register
def _(step: Product, twin: Product, x: Whole, y: Whole) -> Whole:
    own = tuple(a * b for a, b in zip(x.own, y.own, strict=True))
    means = tuple(a * b for a, b in zip(x.mean, y.mean, strict=True))
    return Whole(x.cross * y.cross, x.ntk * y.cross + x.cross * y.ntk, own, means)  # type: ignore[arg-type]


@run.register
def _(step: Weighted, twin: Weighted, x: Whole) -> Whole:
    factors = tuple(s.factor.to(m).expand_as(m) for s, m in zip((step, twin), x.mean, strict=True))

    def scaled(c: Cov) -> Tensor:
        left, right = c.sides(factors)  # type: ignore[arg-type]
        return left * c.k * right

    return x.each(scaled, scaled, lambda m, i: factors[i] * m)


@run.register
def _(step: Expanded, twin: Expanded, x: Whole) -> Whole:
    counts = [s.size[step.axis] for s in (step, twin)]

    def both(c: Cov) -> Tensor:
        first, second = c.batch + step.axis, c.batch + c.n + 1 + step.axis
        k = c.k.unsqueeze(first).unsqueeze(second)
        return k.repeat_interleave(counts[c.a], first).repeat_interleave(counts[c.b], second)

    return x.each(both, both, lambda m, i: m.unsqueeze(1 + step.axis).repeat_interleave(counts[i], 1 + step.axis))


@run.register
def _(step: Correlated, twin: Correlated, *xs: Whole) -> Whole:
    *parts, f = xs
    v = [sum(b * b * x.variances()[i] for b, x in zip(step.b, parts, strict=True)) for i in (0, 1)]

    def total(k: Callable[[Whole], Tensor], kind: Cov, rise: Callable[[Tensor], Tensor]) -> Tensor:
        left, right = kind.left(rise(v[kind.a])), kind.right(rise(v[kind.b]))  # type: ignore[arg-type]
        g = sum(a * a * k(x) for a, x in zip(step.a, parts, strict=True))
        cross = sum(a * b * k(x) for a, b, x in zip(step.a, step.b, parts, strict=True))
        return g + step.c * (left + right) * cross + step.c**2 * k(f)  # type: ignore[return-value]

    dual = step.dual
    own = tuple(total(lambda x, i=i: x.own[i], Cov(f.own[i], 1, i, i), dual.regression) for i in (0, 1))
    cross = total(lambda x: x.cross, Cov(f.cross, 2, 0, 1), dual.regression)
    ntk = total(lambda x: x.ntk, Cov(f.cross, 2, 0, 1), dual.mean_slope)
    return Whole(cross, ntk, own, tuple(step.c * m for m in f.mean))  # type: ignore[arg-type]


@run.register
def _(step: Dropout, twin: Dropout, x: Whole) -> Whole:
    more = 1 / step.keep - 1

    def scaled(c: Cov) -> Tensor:
        same = torch.ones(c.k.shape[: c.batch], dtype=c.k.dtype)
        if c.batch == 2:
            same = torch.eye(*c.k.shape[:2], dtype=c.k.dtype) if step is twin else torch.zeros(c.k.shape[:2], dtype=c.k.dtype)
        same = same.reshape(*same.shape, *(1,) * (2 * c.n)).expand_as(c.k)
        return c.k * (1 + more * _equal_positions(c, same, tuple(range(c.n))))

    return x.each(scaled, scaled, _same)


from . import dense_positions  # noqa: E402, F401  registers the rules of steps that read all pairs of positions
