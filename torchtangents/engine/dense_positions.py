"""The oracle's rules for steps that read all pairs of positions, or hold values of their own at positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..covariance.attention import Attend, Bilinear, attention_weights
from ..covariance.graphs import Aggregated
from ..covariance.masks import Weigh
from ..covariance.pair import Pair
from ..covariance.position import Position
from ..covariance.recurrent import Rates, Recurrent
from ..covariance.tokens import Tokens
from .dense import Cov, Whole, _zero, run


def _matrix(k: Tensor, batch: int) -> Tensor:
    """(*batch, *Sa, *Sb) as (*batch, Ta, Tb)."""
    n = (k.ndim - batch) // 2
    one, two = k.shape[batch : batch + n].numel(), k.shape[batch + n :].numel()
    return k.reshape(*k.shape[:batch], one, two)


def _each_pair(c: Cov, values: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Per-input tensors of the sides of one covariance, broadcast over its batch."""
    one, two = values[c.a], values[c.b]
    return (one, two) if c.batch == 1 else (one[:, None], two[None])


def mixed(x: Whole, matrices: tuple[Tensor, Tensor], sizes: tuple[tuple[int, ...], tuple[int, ...]]) -> Whole:
    """K' = G1 K G2^T with a matrix for each input."""

    def both(c: Cov) -> Tensor:
        one, two = _each_pair(c, matrices)
        out = torch.einsum("...pk,...kl,...ql->...pq", one, _matrix(c.k, c.batch), two)
        return out.reshape(*out.shape[:-2], *sizes[c.a], *sizes[c.b])

    def mean(m: Tensor, side: int) -> Tensor:
        return torch.einsum("npk,nk->np", matrices[side], m.flatten(1)).reshape(len(m), *sizes[side])

    return x.each(both, both, mean)


@run.register
def _(step: Attend, twin: Attend, x: Whole, seen: Whole) -> Whole:
    matrices = []
    for one, own in zip((step, twin), seen.own, strict=True):
        logits = _matrix(own, 1) * one.scale
        matrices.append(attention_weights(logits, one.scores, one.allowed))
    return mixed(x, (matrices[0], matrices[1]), (step.size, twin.size))


@run.register
def _(step: Bilinear, twin: Bilinear, x: Whole, seen: Whole) -> Whole:
    allowed = []
    for one, own in zip((step, twin), x.own, strict=True):
        t = _matrix(own, 1).shape[1]
        ones = torch.ones(len(own), t, t, dtype=own.dtype)
        allowed.append(ones if one.allowed is None else ones * one.allowed)

    def over_keys(c: Cov, k: Tensor) -> Tensor:
        one, two = _each_pair(c, (allowed[0], allowed[1]))
        return torch.einsum("...pk,...kl,...ql->...pq", one, _matrix(k, c.batch), two).reshape(k.shape)

    def product(c: Cov, k: Tensor, k_seen: Tensor) -> Tensor:
        return over_keys(c, k * k_seen) * k_seen

    across = Cov(x.cross, 2, 0, 1)
    both = over_keys(across, seen.cross * x.ntk + x.cross * seen.ntk)
    ntk = over_keys(across, x.cross * seen.cross) * seen.ntk + seen.cross * both
    sides = zip(x.own, seen.own, strict=True)
    own = tuple(product(Cov(k, 1, i, i), k, k_seen) for i, (k, k_seen) in enumerate(sides))
    means = (torch.zeros_like(x.mean[0]), torch.zeros_like(x.mean[1]))
    return Whole(product(across, x.cross, seen.cross), ntk, own, means)  # type: ignore[arg-type]


@run.register
def _(step: Aggregated, twin: Aggregated, x: Whole) -> Whole:
    sides = zip((step, twin), x.own, strict=True)
    matrices = [one.adjacency.to(own).expand(len(own), *one.adjacency.shape[-2:]) for one, own in sides]
    return mixed(x, (matrices[0], matrices[1]), (step.size, twin.size))


@run.register
def _(step: Recurrent, twin: Recurrent, x: Whole) -> Whole:
    dual, power, grow = step.dual, Rates(*step.power), Rates(*step.grow)

    def variances(v: Tensor) -> Tensor:
        out = []
        for t in range(v.shape[1]):
            before = power.hidden * dual.nngp(Pair.equal(out[-1])) if t else 0
            out.append(power.x * v[:, t] + power.bias + before)
        return torch.stack(out, 1)

    v = tuple(variances(side) for side in x.variances())

    def recursion(
        c: Cov, k: Tensor | None, start: Callable[[int, int], Tensor], more: Callable[[Pair, Tensor], Tensor]
    ) -> Tensor:
        """Values at (t, s) from those at (t - 1, s - 1); k: the covariance, None where it is what is computed."""
        v1, v2 = _each_pair(c, v)  # type: ignore[arg-type]
        times, others = range(c.k.shape[-2]), range(c.k.shape[-1])
        table: dict[tuple[int, int], Tensor] = {}
        for t in times:
            for s in others:
                table[t, s] = start(t, s)
                if t and s:
                    last = table[t - 1, s - 1]
                    pair = Pair(v1[..., t - 1], v2[..., s - 1], last if k is None else k[..., t - 1, s - 1])
                    table[t, s] = table[t, s] + more(pair, last)
        return torch.stack([torch.stack([table[t, s] for s in others], -1) for t in times], -2)

    def nngp(c: Cov) -> Tensor:
        def start(t: int, s: int) -> Tensor:
            return power.x * c.k[..., t, s] + power.bias

        return recursion(c, None, start, lambda pair, _: power.hidden * dual.nngp(pair))

    cross = nngp(Cov(x.cross, 2, 0, 1))

    def ntk(c: Cov) -> Tensor:
        def start(t: int, s: int) -> Tensor:
            return grow.x * x.cross[..., t, s] + grow.bias + power.x * c.k[..., t, s]

        return recursion(
            c, cross, start, lambda pair, theta: grow.hidden * dual.nngp(pair) + power.hidden * dual.slope(pair) * theta
        )

    return x.each(nngp, ntk, _zero)


@run.register
def _(step: Tokens, twin: Tokens) -> Whole:
    def equal(a: Tensor, b: Tensor) -> Tensor:
        n = step.values.ndim - 1
        a, b = a.reshape(*a.shape, *(1,) * n), b.reshape(*b.shape[: b.ndim - n], *(1,) * n, *b.shape[b.ndim - n :])
        return ((a == b) & (a > 0)).to(step.dtype)

    one, two = step.values, twin.values
    cross = equal(one[:, None], two[None])
    own = (step.power * equal(one, one), step.power * equal(two, two))
    means = (torch.zeros_like(one, dtype=step.dtype), torch.zeros_like(two, dtype=step.dtype))
    return Whole(step.power * cross, step.shift * cross, own, means)


@run.register
def _(step: Weigh, twin: Weigh, x: Whole) -> Whole:
    weights = tuple(s.weights.to(x.cross) for s in (step, twin))

    def both(c: Cov) -> Tensor:
        one, two = c.sides(weights)  # type: ignore[arg-type]
        return one * two * c.k

    return x.each(both, both, lambda m, i: m * weights[i])


@run.register
def _(step: Position, twin: Position, x: Whole) -> Whole:
    def r(c: Cov) -> Tensor:
        sizes = (step.size, twin.size)
        return step.correlation(sizes[c.a], sizes[c.b], c.k).expand_as(c.k)

    return x.each(lambda c: step.power * r(c), lambda c: step.shift * r(c), _zero)
