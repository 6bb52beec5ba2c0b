"""The algebra of sums of functions of Gaussians: which sums are one function, which are independent, which are refused."""

from __future__ import annotations

import itertools
from typing import NamedTuple, NoReturn

from torch import Tensor

from .combine import Combine
from .correlated import Correlated
from .dual import Dual, Line, add, composed, multiplied
from .kinked import ABReLU
from .laws import Gain, Input
from .node import Node
from .parts import Channels
from .pointwise import Normalize, Pointwise
from .product import Product
from .refusal import refuse

Scalar = float | Tensor
_IDENTITY = ABReLU(1.0, 1.0)


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
            out.append(Term(1.0, add([(c, fn or _IDENTITY) for fn, c in functions.items()]), base))
    for first, second in itertools.combinations(out, 2):
        if first.base.roots & second.base.roots and not (_joint(first, second) or _joint(second, first)):
            _dependent("adds", first.base, second.base)
    return tuple(out)


def applied(terms: tuple[Term, ...], dual: Dual) -> Term:
    """A function of a sum: of data, of one Gaussian, of a sum of Gaussians, or of a function of one Gaussian."""
    if len(terms) == 1 and terms[0].fn is None and isinstance(terms[0].base, Input):
        return Term(1.0, None, Input(dual.function(terms[0].c * terms[0].base.values)))
    if all(t.fn is None for t in terms) and not all(t.base.gaussian for t in terms):
        refuse(
            f"{dual} needs a Gaussian input, and this one is not (an input, an activation that was pooled or "
            "normalised, a dropout). Expected a Linear or Conv layer, or LayerNorm or pooling after one, just before"
        )
    single = one(terms)
    if single is None:
        return refuse(
            f"{dual} of a sum of functions of different Gaussians is an integral in four dimensions with no closed form "
            "(post-activation residual blocks). Expected a Linear or Conv layer before it, or pre-activation blocks"
        )
    c, fn, base = single
    several = base is not terms[0].base
    gains = any(isinstance(t.base, Normalize) and t.base.gain for t in terms)
    if fn is None and ((several and gains) or any(t.base.pending for t in terms)):
        refuse(
            f"{dual} of a sum, a multiple or a pool of a LayerNorm with a trained gain has no NTK rule here. "
            "Expected the function directly after LayerNorm, or elementwise_affine=False"
        )
    return Term(1.0, dual if fn is None else composed(dual, c, fn), base)


def one(terms: tuple[Term, ...], multiple: bool = False) -> Term | None:
    """The sum as a function of one Gaussian, or as a Gaussian itself (or a multiple of it); None where it is neither."""
    (c, fn, base), *rest = terms
    if not rest and (multiple or fn is not None or (not isinstance(c, Tensor) and c == 1)):
        return terms[0] if base.gaussian else None
    return Term(1.0, None, moments(terms)) if all(t.fn is None and t.base.gaussian for t in terms) else None


def times(first: tuple[Term, ...], second: tuple[Term, ...]) -> tuple[Term, ...]:
    """The product: of data, of functions of one Gaussian, or of independent values."""
    (a, *_), (b, *_) = first, second
    if len(first) == len(second) == 1 and isinstance(a.base, Input) and isinstance(b.base, Input):
        return (Term(1.0, None, Input(a.c * b.c * a.base.values * b.base.values)),)
    left, right = one(first, multiple=True), one(second, multiple=True)
    if left and right and left.base is right.base and not left.base.pending:
        factors = [(t.c, t.fn or _IDENTITY) for t in (left, right)]
        return (Term(1.0, multiplied(factors[0], factors[1]), left.base),)
    x, y = moments(first), moments(second)
    if x.roots & y.roots:
        _dependent("multiplies", x, y)
    return (Term(1.0, None, Product(x, y)),)


def moved(terms: tuple[Term, ...], c: Scalar) -> Term | None:
    """A constant added to a function of one Gaussian; None where it is better kept as data, which compiled code knows."""
    term = one(terms, multiple=True)
    if term is None or term.base.pending or (term.fn is not None and term.fn.kinked):
        return None
    return Term(1.0, Line(term.c, term.fn or _IDENTITY, c), term.base)


def moments(terms: tuple[Term, ...]) -> Node:
    """The sum as one step of the program, recorded once however often it is used."""
    nodes, coefficients = [], []
    for group in _correlated(terms):
        if len(group) == 1:
            nodes.append(_step(group[0]))
            coefficients.append(group[0].c)
        else:
            nodes.append(_jointly(group))
            coefficients.append(1.0)
    if len(nodes) == 1 and not isinstance(coefficients[0], Tensor) and coefficients[0] == 1:
        return nodes[0]
    key = frozenset(zip(nodes, coefficients, strict=True))
    if key not in nodes[0].cache:
        total = Combine(tuple(nodes), tuple(coefficients))
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
    if not base.alike:
        refuse(
            "takes some channels of a value whose channels have no common law (data, or groups that were concatenated, and "
            "then mixed); expected them behind a Linear or Conv layer"
        )
    if index not in base.cache:
        base.cache[index] = Channels(base, index)
    return Term(c, fn, base.cache[index])


def _parts(base: Node) -> dict[Node, Scalar]:
    """A Gaussian as a sum of multiples of independent ones."""
    if isinstance(base, Combine) and base.gaussian:
        return dict(zip(base.inputs, base.coefficients, strict=True))
    return {base: 1.0}


def _joint(identity: Term, other: Term) -> bool:
    """Whether a Gaussian is made of those that another one, under a function, is made of: their joint law is known."""
    if identity.fn is not None or other.fn is None or not (identity.base.gaussian and other.base.gaussian):
        return False
    inside = _parts(other.base)
    gains = any(isinstance(p, Normalize) and p.gain for p in (*inside, *_parts(identity.base)))
    return not gains and all(p in inside or not (p.roots & other.base.roots) for p in _parts(identity.base))


def _correlated(terms: tuple[Term, ...]) -> list[tuple[Term, ...]]:
    """The terms in independent groups: a function stands with the Gaussians that it is correlated with."""
    functions = [t for t in terms if t.fn is not None]
    identities = [t for t in terms if t.fn is None]
    groups: list[tuple[Term, ...]] = []
    for function in functions:
        met = [t for t in identities if t.base.roots & function.base.roots]
        for t, other in itertools.product(met, functions):
            if other is not function and t.base.roots & other.base.roots:
                _dependent("adds", t.base, other.base)
        identities = [t for t in identities if not any(t is m for m in met)]
        groups.append((*met, function))
    order = {id(t): i for i, t in enumerate(terms)}
    return sorted([*groups, *((t,) for t in identities)], key=lambda g: order[id(g[0])])


def _jointly(group: tuple[Term, ...]) -> Node:
    """Gaussians and a function of another that they are correlated with, as one step."""
    *identities, (c, fn, base) = group
    assert fn is not None
    inside, outside = _parts(base), {}
    for term in identities:
        for node, scale in _parts(term.base).items():
            outside[node] = outside.get(node, 0.0) + term.c * scale
    key = ("jointly", fn, c, frozenset(outside.items()))
    if key not in base.cache:
        nodes = tuple(dict.fromkeys((*inside, *outside)))
        a, b = (tuple(scales.get(n, 0.0) for n in nodes) for scales in (outside, inside))
        function = _step(Term(1.0, fn, base))
        assert isinstance(function, Pointwise)
        base.cache[key] = Correlated(nodes, a, b, c, function)
    return base.cache[key]


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


def _dependent(verb: str, first: Node, second: Node) -> NoReturn:
    names = ", ".join(sorted({r if isinstance(r, str) else f"'{r.layer}'" for r in first.roots & second.roots}))
    refuse(
        f"{verb} two values that both depend on {names}, and no rule for their joint covariance is known. "
        "Expected branches that end in different random layers, or functions of one Gaussian; "
        "put a Linear or Conv layer at the end of one branch"
    )
