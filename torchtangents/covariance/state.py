"""What `propagate` receives: the covariance of a value, symbolically. Its verbs record; nothing is computed.

A value is groups of channels x sums of terms c f(base), f = None for the identity, beside layout tags.
Sums, concatenations and elementwise functions stay symbolic; a linear map collapses them to second moments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import layout as tags
from .combine import Mixture
from .dual import Dual
from .laws import Affine, Dropout
from .layout import CHANNEL, Layout
from .maps import Linear, Sum, Trace, Window
from .node import Node
from .parts import Diagonal
from .pointwise import Normalize
from .refusal import placed, refuse
from .rows import Rows
from .terms import Scalar, Term, applied, merged, moments, some_channels, split

Groups = tuple[tuple[int, tuple[Term, ...]], ...]  # (number of channels, terms)


@dataclass(frozen=True)
class State:
    """The symbolic covariance of a batch of values; immutable."""

    groups: Groups
    layout: Layout

    @classmethod
    def of(cls, node: Node, channels: int, layout: Layout | None = None) -> State:
        """A value that is one node."""
        return cls(((channels, (Term(1.0, None, node),)),), tags.images(len(node.size)) if layout is None else layout)

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

    @property
    def gaussian(self) -> bool:
        """Whether the channels are independent draws of one centred Gaussian process."""
        return len(self.groups) == 1 and all(t.fn is None and t.base.gaussian for t in self.groups[0][1])

    def node(self) -> Node:
        """The value's second moments as one step of the program."""
        parts = [moments(terms) for _, terms in self.groups]
        if len(parts) == 1:
            return parts[0]
        return Mixture(tuple(parts), tuple(c / self.channels for c, _ in self.groups))

    def _to(self, node: Node, layout: Layout | None = None, channels: int | None = None) -> State:
        return State.of(node, self.channels if channels is None else channels, self.layout if layout is None else layout)

    # Axes

    def spatial(self, dim: int) -> int:
        """The spatial axis that one axis of the value holds; `dim` counts without the batch."""
        group = self.layout[dim]
        if len(group) != 1 or group[0] == CHANNEL:
            kind = "channels" if CHANNEL in group else "no or several axes of positions"
            refuse(f"expected positions on axis {dim % len(self.layout) + 1} of {(-1, *self.shape)}, got {kind}")
        return group[0]

    def features(self, expected: int) -> State:
        """The last axis as channels, read by a linear layer: positions merged into it are traced."""
        group = self.layout[-1] if self.layout else ()
        if CHANNEL not in group:
            refuse(
                f"a linear layer acts on the last axis of {(-1, *self.shape)}, which holds positions, not channels. "
                "Expected the channels there; permute them to the last axis first"
            )
        if self.shape[-1] != expected:
            raise ValueError(placed(f"expected {expected} features on the last axis, got shape {(-1, *self.shape)}"))
        out = self
        while len(out.layout[-1]) > 1:
            out = out.trace(next(t for t in out.layout[-1] if t != CHANNEL))
        return out

    def images(self, n: int, channels: int) -> tuple[int, ...]:
        """The spatial axes of a value (C, S_1, .., S_n), in order; refuses any other layout."""
        if len(self.layout) != n + 1 or self.layout[0] != (CHANNEL,) or self.shape[0] != channels:
            raise ValueError(
                placed(f"expected shape (N, {channels}{', size' * n}) with channels on axis 1, got {(-1, *self.shape)}")
            )
        return tuple(self.spatial(1 + i) for i in range(n))

    def flatten(self, start: int, end: int) -> State:
        """Merge axes start..end (without the batch, inclusive)."""
        if start < 0 or end < start:
            refuse(f"expected to flatten axes after the batch, got {start + 1}..{end + 1}")
        return replace(self, layout=tags.flatten(self.layout, start, end))

    def reshape(self, target: tuple[int, ...]) -> State:
        """The value as a view of another shape (without the batch) that keeps axes whole."""
        return replace(self, layout=tags.regroup(self.layout, self._length, target))

    def permute(self, order: Iterable[int]) -> State:
        """The axes in another order (without the batch)."""
        return replace(self, layout=tuple(self.layout[i] for i in order))

    def squeeze(self, dims: tuple[int, ...]) -> State:
        """Without some axes of length 1; the value keeps what they held."""
        kept = [list(group) for i, group in enumerate(self.layout) if i not in dims]
        rest = [t for i in dims for t in self.layout[i]]
        if rest and kept:
            kept[-1] += rest
        return replace(self, layout=tuple(tuple(g) for g in kept))

    def unsqueeze(self, dim: int) -> State:
        """With an axis of length 1 before an axis; `dim` counts without the batch."""
        return replace(self, layout=(*self.layout[:dim], (), *self.layout[dim:]))

    # Linear maps over positions

    def linear(self, axis: int, rows: Rows) -> State:
        """out[p] = sum_q A[p, q] in[q] along a spatial axis."""
        return self._to(Linear(self.node(), axis, rows))

    def gather(self, axis: int, index: Iterable[int]) -> State:
        """out[p] = in[index[p]] along a spatial axis, 0 where the index is out of range."""
        return self.linear(axis, Rows.gather(index, self.size[axis]))

    def pad(self, axis: int, before: int, after: int, mode: str = "zeros") -> State:
        """Padding (or, where negative, cropping) along a spatial axis: 'zeros', 'circular', 'reflect' or 'replicate'."""
        n = self.size[axis]
        if not before and not after:
            return self
        most = {"circular": n, "reflect": n - 1}.get(mode, max(before, after))
        if n + before + after < 1 or max(before, after) > most:
            raise ValueError(placed(f"cannot pad {n} positions by {(before, after)} ({mode})"))
        index = np.arange(-before, n + after)
        if mode == "circular":
            index = index % n
        elif mode == "reflect":
            index = n - 1 - abs(n - 1 - abs(index))
        elif mode == "replicate":
            index = index.clip(0, n - 1)
        return self.gather(axis, index.tolist())

    def take(self, dim: int, index: Sequence[int]) -> State:
        """Some entries of one axis in a new order, each once where they are channels; `dim` counts without the batch."""
        if not index:
            raise ValueError(placed(f"expected at least one entry of axis {dim + 1} of {(-1, *self.shape)}, got none"))
        if self.layout[dim] != (CHANNEL,):
            return self.gather(self.spatial(dim), index)
        return State(some_channels(self.groups, tuple(index)), self.layout)

    def select(self, dim: int, index: int) -> State:
        """One position of an axis, which is removed; `dim` counts without the batch."""
        axis = self.spatial(dim)
        return self.gather(axis, (index,)).total(axis).squeeze((dim,))

    def matrix(self, axis: int, matrix: np.ndarray) -> State:
        """out[p] = sum_q matrix[p, q] in[q] along a spatial axis, with a constant matrix (size, size_in)."""
        return self.linear(axis, Rows.matrix(matrix))

    def pool(self, axis: int, window: int, stride: int, average: bool = True) -> State:
        """The sum or mean over windows along a spatial axis; windows that do not fit are left out."""
        n = self.size[axis]
        if window > n:
            raise ValueError(placed(f"expected at least {window} positions to pool, got {n}"))
        weight = 1 / window if average else 1.0
        starts = range(0, n - window + 1, stride)
        return self.linear(axis, Rows(([(p + k, weight) for k in range(window)] for p in starts), n))

    def total(self, axis: int, average: bool = True) -> State:
        """The sum or mean over a spatial axis, which is removed."""
        return self._to(Sum(self.node(), axis, average), tags.drop(self.layout, axis))

    def trace(self, axis: int) -> State:
        """Read every position of a spatial axis as more channels; the axis is removed."""
        channels = self.channels * self.size[axis]
        return self._to(Trace(self.node(), axis), tags.drop(self.layout, axis), channels)

    # Random layers

    def window(self, axis: int, offsets: Iterable[int], step: int = 1) -> State:
        """The tied sum of a convolution along a spatial axis: out(p, q) = sum_k in(step p + k, step q + k)."""
        offsets = tuple(offsets)
        if max(offsets) >= self.size[axis]:
            raise ValueError(placed(f"expected at least {max(offsets) + 1} positions (after padding), got {self.size[axis]}"))
        return self._to(Window(self.node(), axis, offsets, step))

    def diagonal(self, axes: Iterable[int]) -> State:
        """Weights that are not shared, behind `affine`: positions of these axes become independent."""
        node = self.node()
        if not node.centred:
            refuse("positions can only become independent behind random weights; expected affine just before")
        return self._to(Diagonal(node, tuple(axes)))

    def affine(self, w2: Scalar, b2: Scalar, grow: Scalar, shift: Scalar, channels: int, taps: int = 1) -> State:
        """Random weights: K' = w2 K + b2 and Theta' = grow K + shift + w2 Theta, K the mean over `taps`."""
        return self._to(Affine(self.node(), w2, b2, grow, shift, taps), None, channels)

    # Elementwise

    def apply(self, dual: Dual) -> State:
        """A function of every channel."""
        out = replace(self, groups=tuple((c, (applied(terms, dual),)) for c, terms in self.groups))
        out.node()  # recorded now, under this layer's name
        return out

    def normalize(
        self, dims: int, eps: float, center: bool = True, gain: bool = True, bias: bool = True, trained: int | None = None
    ) -> State:
        """Normalise over the last `dims` axes, which must hold the channels; then a trained gain and bias.

        `trained`: the one axis whose entries have a gain and bias each, by default all that are normalised.
        """
        held = [t for group in self.layout[len(self.layout) - dims :] for t in group]
        if CHANNEL not in held:
            refuse("normalisation over positions alone has no infinite-width rule; expected the channel axis among them")
        axes = tuple(sorted(t for t in held if t != CHANNEL))
        own = axes if trained is None else tuple(a for a in axes if a in self.layout[trained])
        return self._to(Normalize(self.node(), axes, eps, center, gain, bias, own))

    def dropout(self, keep: float) -> State:
        """Independent masks with P(keep), rescaled by 1 / keep."""
        if keep == 0:  # p = 1 leaves zeros
            return self * 0.0
        return self if keep == 1 else self._to(Dropout(self.node(), keep))

    def __add__(self, other: State) -> State:
        """The sum with a value that depends on other weights, or on the same Gaussian."""
        if self.shape != other.shape or self.layout != other.layout:
            refuse(f"expected both terms of a sum with one shape and layout, got {self.shape} and {other.shape}")
        left, right, out = list(self.groups), list(other.groups), []
        while left:  # a common refinement of both groupings of the channels
            (a, first), (b, second) = left.pop(0), right.pop(0)
            if a > b:
                first, rest = split(first, b, a)
                left.insert(0, (a - b, rest))
            elif b > a:
                second, rest = split(second, a, b)
                right.insert(0, (b - a, rest))
            out.append((min(a, b), merged(first + second)))
        total = State(tuple(out), self.layout)
        total.node()  # recorded now, under this layer's name
        return total

    def __mul__(self, c: Scalar) -> State:
        """A multiple, by a number or a 0-dim tensor."""
        groups = tuple((n, tuple(Term(t.c * c, t.fn, t.base) for t in terms)) for n, terms in self.groups)
        multiple = replace(self, groups=groups)
        multiple.node()  # recorded now, under this layer's name
        return multiple

    @staticmethod
    def cat(states: list[State]) -> State:
        """Channels side by side."""
        return State(tuple(g for s in states for g in s.groups), states[0].layout)
