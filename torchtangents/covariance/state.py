"""What `propagate` receives: the covariance of a value, symbolically. Its verbs record; nothing is computed.

A value is groups of channels x sums of terms c f(base), f = None for the identity, beside layout tags.
Sums, concatenations and elementwise functions stay symbolic; a linear map collapses them to second moments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from . import layout as tags
from .attention import Attend, Bilinear, allowed_keys
from .combine import mixture
from .dual import Dual
from .graphs import Aggregated
from .laws import Affine, Dropout
from .layout import CHANNEL, Layout
from .maps import Linear, Sum, Trace, Window
from .masks import Weigh, averaged, both
from .node import Node
from .parts import Diagonal
from .pointwise import Normalize
from .position import Position
from .product import Expanded, Weighted
from .recurrent import Rates, Recurrent
from .refusal import placed, refuse
from .rows import Rows
from .shaped import Shaped
from .terms import Scalar, Term, applied, merged, moments, moved, some_channels, split, times


@dataclass(frozen=True)
class State(Shaped):
    """The symbolic covariance of a batch of values; immutable. What a layer's `propagate` receives and returns.

    Its methods, the verbs, record steps of a program; each returns a new State, and nothing is computed.

    Attributes:
        groups: pairs (number of channels, terms c f(base) whose sum they are).
        layout: for each axis but the batch, which positions and channels it holds.
        mask: (N, *S), True where inputs have data; None for everywhere.

    Example:
        >>> import torch, torchtangents as tt
        >>> class Halve(tt.Layer):
        ...     def forward(self, x):
        ...         return x / 2
        ...     def propagate(self, k: tt.State) -> tt.State:
        ...         return k * 0.5
        >>> tt.nngp(torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), Halve()), torch.ones(1, 1))
        tensor([[0.2500]])
    """

    @classmethod
    def of(cls, node: Node, channels: int, layout: Layout | None = None) -> State:
        """A value that is one node."""
        return cls(((channels, (Term(1.0, None, node),)),), tags.images(len(node.size)) if layout is None else layout, None)

    @property
    def gaussian(self) -> bool:
        """Whether the channels are independent draws of one centred Gaussian process."""
        return len(self.groups) == 1 and all(t.fn is None and t.base.gaussian for t in self.groups[0][1])

    def node(self) -> Node:
        """The value's second moments as one step of the program."""
        weights: dict[Node, float] = {}
        for c, terms in self.groups:
            part = moments(terms)
            weights[part] = weights.get(part, 0.0) + c / self.channels
        return mixture(weights)

    def _each(self, step: Callable[[Node], Node], layout: Layout | None = None) -> State:
        """A step for each group of channels."""
        groups = tuple((c, (Term(1.0, None, step(moments(terms))),)) for c, terms in self.groups)
        return State(groups, self.layout if layout is None else layout, self.mask)

    def _to(self, node: Node, layout: Layout | None = None, channels: int | None = None) -> State:
        count = self.channels if channels is None else channels
        return replace(State.of(node, count, self.layout if layout is None else layout), mask=self.mask)

    # Masks

    def weigh(self, weights: Tensor) -> State:
        """Numbers (N, *S) for each input and position: K' = w1(p) w2(q) K(p, q)."""
        return self._each(lambda node: Weigh(node, weights))

    def masked(self) -> State:
        """Zeros where there are no data, and no mask from here on; what every step that mixes positions reads."""
        return self if self.mask is None else replace(self.weigh(self.mask), mask=None)

    def _mixes(self) -> None:
        if self.mask is not None:
            refuse(
                "this operation mixes positions and has no rule for masks. Expected convolutions with zero padding, average or "
                "sum pools, GlobalAvgPool, attention and Flatten between the data and the read-out"
            )

    # Axes

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
        traced = tuple(1 + t for t in group if t != CHANNEL)
        out = self.masked() if traced else self
        while len(out.layout[-1]) > 1:
            out = out.trace(next(t for t in out.layout[-1] if t != CHANNEL))
        if self.mask is not None and traced and out.size:
            out = replace(out, mask=self.mask.any(traced))
        return out

    def images(self, n: int, channels: int) -> tuple[int, ...]:
        """The spatial axes of a value (C, S_1, .., S_n), in order; refuses any other layout."""
        if len(self.layout) != n + 1 or self.layout[0] != (CHANNEL,) or self.shape[0] != channels:
            raise ValueError(
                placed(f"expected shape (N, {channels}{', size' * n}) with channels on axis 1, got {(-1, *self.shape)}")
            )
        return tuple(self.spatial(1 + i) for i in range(n))

    # Linear maps over positions

    def linear(self, axis: int, rows: Rows) -> State:
        """out[p] = sum_q A[p, q] in[q] along a spatial axis."""
        self._mixes()
        return self._each(lambda node: Linear(node, axis, rows))

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
        return replace(self, groups=some_channels(self.groups, tuple(index)))

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
        self._mixes()
        return self._each(lambda node: Sum(node, axis, average), tags.drop(self.layout, axis))

    def totals(self, axes: tuple[int, ...], average: bool = True) -> State:
        """The sum or mean over the positions of spatial axes that hold data; the axes are removed."""
        out, left = self, None
        if self.mask is not None and axes:
            out = replace(self.weigh(averaged(self.mask, axes, average)), mask=None)
            left = self.mask.any(tuple(1 + a for a in axes)) if len(axes) < len(self.size) else None
        for gone, axis in enumerate(sorted(axes)):
            out = out.total(axis - gone, average and self.mask is None)
        return replace(out, mask=left) if axes else self

    def last(self, axis: int) -> State:
        """The last position of a spatial axis that holds data; the axis is removed."""
        if self.mask is None:
            out = self.gather(axis, [self.size[axis] - 1]).total(axis)
        else:
            behind = self.mask.flip(1 + axis).cumsum(1 + axis).flip(1 + axis)
            left = self.mask.any(1 + axis) if len(self.size) > 1 else None
            ends = replace(self.weigh(self.mask & (behind == 1)), mask=None)
            out = replace(ends.total(axis, average=False), mask=left)
        return out.squeeze(tuple(i for i, group in enumerate(out.layout) if not group))

    def trace(self, axis: int) -> State:
        """Read every position of a spatial axis as more channels; the axis is removed."""
        self._mixes()
        channels = self.channels * self.size[axis]
        return self._to(Trace(self.node(), axis), tags.drop(self.layout, axis), channels)

    # All pairs of positions

    def attend(
        self, seen: State, scores: str, scale: Scalar | None, keys: Tensor | None = None, pairs: Tensor | None = None
    ) -> State:
        """Self-attention over the positions of (N, T, C), without its weights' random signs.

        With a `scale` the scores are deterministic, K' = G1 K G2^T and G = f(scale K_s(x, x)); without, K' = K_s sum K_s K.
        seen: what queries and keys are made of, with K_s; this value or one that differs by positional embeddings.
        keys: (N, T) and pairs: (T, T), booleans, True where a key may be read.
        """
        for value in (self, seen):
            value._sequence()
        allowed = allowed_keys(keys, pairs, self.layout[0], self.size)
        if self.mask is not None:
            held = self.mask.flatten(1)[:, None].expand(-1, self.mask[0].numel(), -1)
            allowed = held if allowed is None else allowed & held
        nodes = self.node(), seen.node()
        return self._to(Bilinear(*nodes, allowed) if scale is None else Attend(*nodes, scale, scores, allowed))

    def aggregate(self, matrices: Tensor) -> State:
        """Sums over positions with a matrix (N, T, T), or (T, T), for each input: K' = A1 K A2^T."""
        self._sequence()
        if len(self.size) != 1:
            refuse(f"expected one axis of positions, got {self.size}")
        source = self.masked()
        return replace(source._to(Aggregated(source.node(), matrices)), mask=self.mask)

    def _sequence(self) -> None:
        """Refuse what is not (N, positions, channels)."""
        if len(self.layout) != 2 or self.layout[1] != (CHANNEL,) or sorted(self.layout[0]) != list(range(len(self.size))):
            refuse(f"expected (N, positions, channels) with all positions on axis 1, got {(-1, *self.shape)}")

    # Random layers

    def window(self, axis: int, offsets: Iterable[int], step: int = 1) -> State:
        """The tied sum of a convolution along a spatial axis: out(p, q) = sum_k in(step p + k, step q + k)."""
        self._mixes()
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

    def recur(self, dual: Dual, power: Rates, grow: Rates, channels: int) -> State:
        """g(t) = W_x x(t) + W_h f(g(t - 1)) + b of a recurrent layer, before f: the NNGP by `power`, direct terms by `grow`."""
        self._sequence()
        if len(self.size) != 1:
            refuse(f"expected one axis of times, got {self.size}")
        return replace(self._to(Recurrent(self.masked().node(), dual, power, grow), None, channels), mask=self.mask)

    def positional(
        self, power: Scalar, shift: Scalar, shared: Iterable[bool], channels: int, matrix: Tensor | None = None
    ) -> State:
        """Gaussians at the positions of this value, the same for every input: K = power R, Theta = shift R.

        R is the identity, ones along the axes that are `shared`, or the given (T, T) matrix over all positions.
        """
        like = self.groups[0][1][0].base
        return self._to(Position(like, power, shift, tuple(shared), matrix), None, channels)

    # Elementwise

    def apply(self, dual: Dual) -> State:
        """A function of every channel."""
        return self._recorded((c, (applied(terms, dual),)) for c, terms in self.groups)

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
        if axes:
            self._mixes()
        own = axes if trained is None else tuple(a for a in axes if a in self.layout[trained])
        whole = self.node() if len(self.groups) > 1 else None
        return self._each(lambda node: Normalize(node, axes, eps, center, gain, bias, own, whole))

    def dropout(self, keep: float) -> State:
        """Independent masks with P(keep), rescaled by 1 / keep."""
        if keep == 0:  # p = 1 leaves zeros
            return self * 0.0
        return self if keep == 1 else self._to(Dropout(self.node(), keep))

    def __add__(self, other: State) -> State:
        """The sum with a value that depends on other weights, or on the same Gaussian."""
        if self.shape != other.shape or self.layout != other.layout:
            refuse(f"expected both terms of a sum with one shape and layout, got {self.shape} and {other.shape}")
        out = self._recorded((n, merged(first + second)) for n, first, second in self._refined(other))
        return replace(out, mask=both(self.mask, other.mask))

    def __mul__(self, c: Scalar | State) -> State:
        """A multiple, by a number or a 0-dim tensor; the product with a value that depends on other weights."""
        if isinstance(c, State):
            if self.shape != c.shape or self.layout != c.layout:
                refuse(f"expected both factors of a product with one shape and layout, got {self.shape} and {c.shape}")
            out = self._recorded((n, times(first, second)) for n, first, second in self._refined(c))
            return replace(out, mask=both(self.mask, c.mask))
        return self._recorded((n, tuple(Term(t.c * c, t.fn, t.base) for t in terms)) for n, terms in self.groups)

    def _recorded(self, groups: Iterable[tuple[int, tuple[Term, ...]]]) -> State:
        out = replace(self, groups=tuple(groups))
        out.node()  # recorded now, under this layer's name
        return out

    def _refined(self, other: State) -> Iterator[tuple[int, tuple[Term, ...], tuple[Term, ...]]]:
        """The common refinement of both groupings of the channels."""
        left, right = list(self.groups), list(other.groups)
        while left:
            (a, first), (b, second) = left.pop(0), right.pop(0)
            if a > b:
                first, rest = split(first, b, a)
                left.insert(0, (a - b, rest))
            elif b > a:
                second, rest = split(second, a, b)
                right.insert(0, (b - a, rest))
            yield min(a, b), first, second

    def shifted(self, c: Scalar) -> State | None:
        """A constant added to every channel of functions of one Gaussian; None where it has to be data."""
        groups = [(n, moved(terms, c)) for n, terms in self.groups]
        return None if any(t is None for _, t in groups) else self._recorded((n, (t,)) for n, t in groups)  # type: ignore[misc]

    def weighted(self, factor: Tensor) -> State:
        """The product with one known number a sample and position, (N, *S) or broadcast to it."""
        return self._each(lambda node: Weighted(node, factor))

    def expand(self, dim: int, count: int) -> State:
        """An axis of length 1 repeated; `dim` counts without the batch."""
        if self.layout[dim]:
            return self.gather(self.spatial(dim), [0] * count)
        self._mixes()
        axis = sum(len([t for t in group if t != CHANNEL]) for group in self.layout[:dim])
        layout = [tuple(t + (t >= axis) for t in group) for group in self.layout]
        layout[dim] = (axis,)
        return self._each(lambda node: Expanded(node, axis, count), tuple(layout))

    @staticmethod
    def cat(states: list[State]) -> State:
        """Channels side by side."""
        mask = functools.reduce(both, (s.mask for s in states))
        return State(tuple(g for s in states for g in s.groups), states[0].layout, mask)
