"""The axes of a symbolic value: layout tags that flatten, permute and reshape move about; no arithmetic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from . import layout as tags
from .layout import CHANNEL, Layout
from .refusal import refuse
from .terms import Term

if TYPE_CHECKING:
    from typing_extensions import Self

Groups = tuple[tuple[int, tuple[Term, ...]], ...]  # (number of channels, terms)


@dataclass(frozen=True)
class Shaped:
    """Groups of channels x sums of terms, the tags of their axes, and where the data are."""

    groups: Groups
    layout: Layout
    mask: Tensor | None  # (N, *S), True where an input has data; None where all have everywhere

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(c for c, _ in self.groups)

    @property
    def size(self) -> tuple[int, ...]:
        """Number of positions on each spatial axis."""
        return self.groups[0][1][0].base.size

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value, without the batch."""
        return tags.shape(self.layout, self._length)

    def _length(self, tag: int) -> int:
        return self.channels if tag == CHANNEL else self.size[tag]

    def spatial(self, dim: int) -> int:
        """The spatial axis that one axis of the value holds; `dim` counts without the batch."""
        group = self.layout[dim]
        if len(group) != 1 or group[0] == CHANNEL:
            kind = "channels" if CHANNEL in group else "no or several axes of positions"
            refuse(f"expected positions on axis {dim % len(self.layout) + 1} of {(-1, *self.shape)}, got {kind}")
        return group[0]

    def flatten(self, start: int, end: int) -> Self:
        """Merge axes start..end (without the batch, inclusive)."""
        if start < 0 or end < start:
            refuse(f"expected to flatten axes after the batch, got {start + 1}..{end + 1}")
        return replace(self, layout=tags.flatten(self.layout, start, end))

    def reshape(self, target: tuple[int, ...]) -> Self:
        """The value as a view of another shape (without the batch) that keeps axes whole."""
        return replace(self, layout=tags.regroup(self.layout, self._length, target))

    def permute(self, order: Iterable[int]) -> Self:
        """The axes in another order (without the batch)."""
        return replace(self, layout=tuple(self.layout[i] for i in order))

    def squeeze(self, dims: tuple[int, ...]) -> Self:
        """Without some axes of length 1; the value keeps what they held."""
        kept = [list(group) for i, group in enumerate(self.layout) if i not in dims]
        rest = [t for i in dims for t in self.layout[i]]
        if rest and kept:
            kept[-1] += rest
        return replace(self, layout=tuple(tuple(g) for g in kept))

    def unsqueeze(self, dim: int) -> Self:
        """With an axis of length 1 before an axis; `dim` counts without the batch."""
        return replace(self, layout=(*self.layout[:dim], (), *self.layout[dim:]))
