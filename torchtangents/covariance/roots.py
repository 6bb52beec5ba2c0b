"""Which last random layers a value depends on, down to single channels: values without a common root are independent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .node import Node


class Part(NamedTuple):
    """Some channels of a random layer, in the order in which a value holds them: different ones are independent."""

    root: Node
    channels: tuple[int, ...]

    @property
    def layer(self) -> str:
        """The dotted name of the layer."""
        return self.root.layer


class Roots(frozenset):
    """A set of roots whose intersection counts what two parts of one layer share."""

    def __and__(self, other: Iterable) -> Roots:
        if not any(isinstance(r, Part) for r in (*self, *other)):
            return Roots(frozenset.intersection(self, other))
        return Roots(a for a in self if any(_meet(a, b) for b in other))

    __rand__ = __and__

    def isdisjoint(self, other: Iterable) -> bool:
        """Whether nothing is shared."""
        return not self & other

    def union(self, *others: Iterable) -> Roots:
        """All of them."""
        return Roots(frozenset.union(self, *others))

    def some(self, index: tuple[int, ...]) -> Roots:
        """Of a value that keeps these channels of one that has one channel for each of every root's."""
        return Roots(Part(r.root, tuple(r.channels[i] for i in index)) if isinstance(r, Part) else Part(r, index) for r in self)


def _meet(a: object, b: object) -> bool:
    first, second = (r.root if isinstance(r, Part) else r for r in (a, b))
    if first is not second and first != second:
        return False
    return not (isinstance(a, Part) and isinstance(b, Part)) or not set(a.channels).isdisjoint(b.channels)
