"""How many features each layer of a network gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .chain import Kink, Random, Step


@dataclass(frozen=True)
class Sizes:
    """Of one activation: features that come in, and that it makes."""

    kink: Kink
    phi: int
    psi: int
    values: int  # of f
    slopes: int  # of f'; 0 for none
    products: int  # of the sketch of psi with those
    inside: int  # length of the sketches of powers


@dataclass(frozen=True)
class Plan:
    """The steps of a network, and the sizes of features in it (`features` states the rule)."""

    width: int
    steps: tuple[Step, ...]
    ntk: bool
    dim: int
    sizes: tuple[Sizes, ...]

    @classmethod
    def of(cls, width: int, steps: tuple[Step, ...], dim: int, kernel: str) -> Plan:
        """For about `dim` features that come out."""
        ntk = kernel == "ntk"
        last = max((i for i, step in enumerate(steps) if isinstance(step, Kink)), default=-1)
        if last < 0:
            return cls(width, steps, ntk, _through(steps, width, 0)[int(ntk)], ())
        depth = sum(isinstance(step, Kink) for step in steps)
        values, products = _shared(steps[last + 1 :], dim, depth, ntk)
        sizes, phi, psi, done = [], width, 0, 0
        for i, step in enumerate(steps):
            if not isinstance(step, Kink):
                continue
            phi, psi = _through(steps[done:i], phi, psi)
            made = (values, products) if i == last else (dim, dim)
            sizes.append(Sizes(step, phi, psi, made[0], dim if ntk else 0, made[1], dim if ntk else made[0]))
            phi, psi, done = *made, i + 1
        return cls(width, steps, ntk, _through(steps[done:], phi, psi)[int(ntk)], tuple(sizes))


def _through(steps: Iterable[Step], phi: int, psi: int) -> tuple[int, int]:
    """The numbers of features of both kinds behind steps without activations."""
    for step in steps:
        if isinstance(step, Random):
            psi += phi + bool(step.shift)
            phi += bool(step.b)
    return phi, psi


def _shared(steps: Iterable[Step], dim: int, depth: int, ntk: bool) -> tuple[int, int]:
    """Features of the last activation, and of the last sketch, so that about `dim` come out."""
    steps = tuple(steps)
    kind = int(ntk)
    constant = _through(steps, 0, 0)[kind]
    copies = _through(steps, 1, 0)[kind] - constant  # how often the last phi comes out
    left = dim - constant
    if not ntk:
        values, products = left // copies, 1
    elif copies:
        products = _smooth(max(left * depth // (depth + 1), 1))
        values = (left - products) // copies
    else:
        values, products = 1, left
    if values < 1 or products < 1 or (ntk and products < 2):
        raise ValueError(f"dim: expected at least {4 + constant + copies} features for this network, got {dim}")
    return values, products


def _smooth(n: int) -> int:
    """The largest product of 2, 3 and 5 up to n."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n -= 1
