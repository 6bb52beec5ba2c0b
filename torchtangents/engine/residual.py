"""Sums of branches as they grow: each is the one before it plus what the next convolution adds, in one pass of csrc."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from .operations import Kind
from .segments import Gather, Step

Parts = dict[Step, float]  # the terms of a sum, with their weights


def accumulated(steps: list[Step]) -> list[Step]:
    """The same steps, where a sum of branches is added to within the convolution that ends one of them.

    Such a convolution reads two sources: what its window is moved over, and the sum so far. A function of the new sum is a
    step of its own, next to it, so that csrc computes both in the same pass.
    """
    out: list[Step] = []
    earlier: list[tuple[Parts, Step]] = []
    for step in steps:
        if step.gather == Gather.MIX and len(set(step.sources)) == len(step.sources) > 1:
            parts, total = dict(zip(step.sources, step.weights, strict=True)), step
            if step.operations:
                total = Step(Gather.MIX, step.node)
                step.sources, step.weights = [total], [1.0]
                out.append(total)
            terms = _from_earlier(parts, earlier)
            total.sources, total.weights = list(terms), list(terms.values())
            earlier.append((parts, total))
        out.append(step)
    readers = Counter(source for step in out for source in step.sources)
    for _, total in earlier:
        ends = [s for s in total.sources if readers[s] == 1 and _is_fused(s)]
        if len(total.sources) == 2 and ends:
            _absorb(total, ends[-1])
            out.remove(ends[-1])
    return _beside(_rejoined(out))


def _from_earlier(parts: Parts, earlier: list[tuple[Parts, Step]]) -> Parts:
    """A sum in terms of the latest one before it that it contains."""
    for held, total in reversed(earlier):
        if len(held) < len(parts) and held.items() <= parts.items():
            return {total: 1.0} | {s: w for s, w in parts.items() if s not in held}
    return parts


def _is_fused(step: Step) -> bool:
    """Whether a step is a 3 x 3 window and a linear layer, for which csrc has one pass."""
    if step.gather != Gather.MAP or len(step.sources) > 1 or [o.kind for o in step.operations] != [Kind.AFFINE]:
        return False
    return all(stride == 1 and offsets == [offsets[0] + i for i in range(3)] for stride, offsets in step.taps)


def _absorb(total: Step, branch: Step) -> None:
    """The sum by one of its two branches, whose weight goes into the linear layer."""
    terms = dict(zip(total.sources, total.weights, strict=True))
    (affine,), factor = branch.operations, terms.pop(branch)
    ((so_far, weight),) = terms.items()
    total.operations = [replace(affine, constants=tuple(factor * c for c in affine.constants))]
    total.gather, total.taps = Gather.MAP, branch.taps
    total.sources, total.weights = [branch.sources[0], so_far], [1.0, weight]


def _rejoined(steps: list[Step]) -> list[Step]:
    """Sums that no branch was absorbed by, and one function alone reads, are one step with it again."""
    readers = Counter(source for step in steps for source in step.sources)
    out: list[Step] = []
    for step in steps:
        before = out[-1] if out else step
        alone = step.gather == Gather.MIX and step.sources == [before] and step.weights == [1.0] and readers[before] == 1
        if alone and before.gather == Gather.MIX and not before.operations:
            step.sources, step.weights = before.sources, before.weights
            out.pop()
        out.append(step)
    return out


def _beside(steps: list[Step]) -> list[Step]:
    """A function of a sum right after it."""
    alone = [s for s in steps[:-1] if s.gather == Gather.MIX and len(s.sources) == 1]
    functions = {s.sources[0]: s for s in alone if s.sources[0].gather == Gather.MAP and len(s.sources[0].sources) == 2}
    moved = set(functions.values())
    out: list[Step] = []
    for step in steps:
        if step not in moved:
            out.append(step)
        if step in functions:
            out.append(functions[step])
    return out
