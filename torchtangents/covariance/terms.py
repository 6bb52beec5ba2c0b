"""The algebra of sums of functions of Gaussians: which sums are one function, which are independent, which are refused."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .combine import Combine
from .dual import Dual, add
from .kinked import ABReLU
from .laws import Gain, Input
from .node import Node
from .parts import Channels, exchangeable
from .pointwise import Normalize, Pointwise
from .quadrature import Quadrature
from .refusal import placed, refuse

Scalar = float | Tensor


class Term(NamedTuple):
    """c f(base); f = None is the identity."""

    c: Scalar
    fn: Dual | None
    base: Node


def merged(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The sum with equal terms added, functions of one Gaussian made one, and the rest checked for independence."""
    terms = _inputs_added(_folded(terms))
    by_base: dict[Node, dict[Dual | None, Scalar]] = {}
    for c, fn, base in terms:
        functions = by_base.setdefault(base, {})
        functions[fn] = functions[fn] + c if fn in functions else c
    out = []
    for base, functions in by_base.items():
        if len(functions) == 1:
            ((fn, c),) = functions.items()
            out.append(Term(c, fn, base))
        elif not base.gaussian:
            refuse("adds a value and a function of it, where the value is not Gaussian")
        else:
            parts = [(c, ABReLU(1.0, 1.0) if fn is None else fn) for fn, c in functions.items()]
            out.append(Term(1.0, add(parts), base))
    for i, first in enumerate(out):
        for second in out[:i]:
            shared = first.base.roots & second.base.roots
            if shared:
                names = ", ".join(sorted({r if isinstance(r, str) else f"'{r.layer}'" for r in shared}))
                refuse(
                    f"adds two values that both depend on {names}, and no rule for their joint covariance is known. "
                    "Expected branches that end in different random layers, or functions of one Gaussian; "
                    "put a Linear or Conv layer at the end of one branch"
                )
    return tuple(out)


def applied(terms: tuple[Term, ...], dual: Dual) -> Term:
    """A function of a sum: of one Gaussian, of a sum of Gaussians, or of a function of one Gaussian."""
    if all(t.fn is None for t in terms):
        if not all(t.base.gaussian for t in terms):
            refuse(
                f"{dual} needs a Gaussian input, and this one is not (an input, an activation that was pooled or "
                "normalised, a dropout). Expected a Linear or Conv layer, or LayerNorm or pooling after one, just before"
            )
        (c, _, base), *rest = terms
        several = bool(rest) or isinstance(c, Tensor) or c != 1
        gains = any(isinstance(t.base, Normalize) and t.base.gain for t in terms)
        if (several and gains) or any(t.base.pending for t in terms):
            refuse(
                f"{dual} of a sum, a multiple or a pool of a LayerNorm with a trained gain has no NTK rule here. "
                "Expected the function directly after LayerNorm, or elementwise_affine=False"
            )
        if several:
            base = moments(terms)
        return Term(1.0, dual, base)
    if len(terms) == 1:
        c, fn, base = terms[0]
        assert fn is not None
        return Term(1.0, _composed(dual, c, fn), base)
    return refuse(
        f"{dual} of a sum of functions of different Gaussians is an integral in four dimensions with no closed form "
        "(post-activation residual blocks). Expected a Linear or Conv layer before it, or pre-activation blocks"
    )


def moments(terms: tuple[Term, ...]) -> Node:
    """The sum as one step of the program, recorded once however often it is used."""
    nodes = [_step(term) for term in terms]
    if len(nodes) == 1 and not isinstance(terms[0].c, Tensor) and terms[0].c == 1:
        return nodes[0]
    key = frozenset((node, t.c) for node, t in zip(nodes, terms, strict=True))
    if key not in nodes[0].cache:
        total = Combine(tuple(nodes), tuple(t.c for t in terms))
        for node in nodes:
            node.cache[key] = total
    return nodes[0].cache[key]


def _step(term: Term) -> Node:
    """f(base) as a step, recorded once for each function and base."""
    base, fn = term.base, term.fn
    gain = base.trained if isinstance(base, Normalize) and base.gain else None
    if fn is None and gain is None:
        return base
    if fn not in base.cache:
        base.cache[fn] = Gain(base, gain or ()) if fn is None else Pointwise(base, fn, gain)
    return base.cache[fn]


def some_channels(
    groups: tuple[tuple[int, tuple[Term, ...]], ...], index: tuple[int, ...]
) -> tuple[tuple[int, tuple[Term, ...]], ...]:
    """Some channels of groups of channels: each group that is not whole becomes a part of it, with the same law."""
    if len(set(index)) < len(index):
        refuse("repeats a channel, and equal channels are not independent; expected each channel once")
    owner = [(g, c) for g, (count, _) in enumerate(groups) for c in range(count)]
    runs: list[tuple[int, list[int]]] = []
    for g, c in (owner[i] for i in index):
        if not runs or runs[-1][0] != g:
            runs.append((g, []))
        runs[-1][1].append(c)
    out = []
    for g, chosen in runs:
        count, terms = groups[g]
        if chosen != list(range(count)):
            terms = tuple(_part(term, tuple(chosen)) for term in terms)
        out.append((len(chosen), terms))
    return tuple(out)


def split(terms: tuple[Term, ...], count: int, whole: int) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    """The terms of the first `count` of `whole` channels, and of the rest, which are independent of them."""
    first, rest = tuple(range(count)), tuple(range(count, whole))
    return tuple(_part(t, first) for t in terms), tuple(_part(t, rest) for t in terms)


def _part(term: Term, index: tuple[int, ...]) -> Term:
    c, fn, base = term
    if isinstance(base, Input):
        if index not in base.cache:
            base.cache[index] = Input(base.values[:, list(index)])
        return Term(c, fn, base.cache[index])
    if isinstance(base, Normalize) and base.gain:  # the gain belongs to the whole
        base, fn = _step(Term(1.0, fn, base)), None
    if not exchangeable(base):
        refuse(
            "takes some channels of a value whose channels have no common law (data, or groups that were concatenated, and "
            "then mixed); expected them behind a Linear or Conv layer"
        )
    if index not in base.cache:
        base.cache[index] = Channels(base, index)
    return Term(c, fn, base.cache[index])


def _folded(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """a + b + f(a + b) is a function of the one Gaussian a + b."""
    identities = {t.base: t.c for t in terms if t.fn is None}
    for term in terms:
        base = term.base
        if term.fn is None or not isinstance(base, Combine):
            continue
        parts = dict(zip(base.inputs, base.coefficients, strict=True))
        if all(identities.get(node) is c or identities.get(node) == c for node, c in parts.items()):
            rest = tuple(t for t in terms if not (t.fn is None and t.base in parts))
            return (*rest, Term(1.0, None, base))
    return terms


def _inputs_added(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Data are numbers: their sum is formed at once."""
    data = [t for t in terms if isinstance(t.base, Input)]
    if len(data) < 2:
        return terms
    total = sum(t.c * t.base.values for t in data)  # type: ignore[attr-defined]
    return (*(t for t in terms if not isinstance(t.base, Input)), Term(1.0, None, Input(total)))  # type: ignore[arg-type]


def _composed(outer: Dual, c: Scalar, inner: Dual) -> Dual:
    """outer(c inner(.)) of one Gaussian."""
    if isinstance(outer, ABReLU) and isinstance(inner, ABReLU):
        numbers = (outer.a, outer.b, inner.a, inner.b, c)
        if not any(isinstance(v, Tensor) for v in numbers):
            low, high = -inner.a * c, inner.b * c  # the values at -1 and at 1

            def end(v: Scalar) -> Scalar:
                return outer.b * v if v > 0 else outer.a * v

            return ABReLU(-end(low), end(high))
    if outer.breakpoints:
        raise NotImplementedError(
            placed(f"{outer} of {inner}: its kinks are not known; wrap both in one tt.nn.Elementwise(fn, breakpoints=...)")
        )
    return Quadrature(
        lambda x: outer.function(c * inner.function(x)), inner.breakpoints, f"{outer}({inner})", kinked=inner.kinked
    )
