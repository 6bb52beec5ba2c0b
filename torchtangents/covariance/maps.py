"""Linear maps over positions: K' = A1 K A2^T, one axis at a time.

Squared distances follow from D(p, q) = v1(p) + v2(q) - 2 K(p, q). For rows a (of A1) and b (of A2) with sums s and
alpha = sum_k a_k v(k),

    D' = sum_kl a_k b_l D12(k, l) - h1 - h2 + (s1 - s2)(alpha1 - alpha2),     h = sum_kl a_k a_l D11(k, l) / 2,

and D' <= s sum_k a_k D12(k, l_k) where a = b >= 0 (Jensen), which keeps equal inputs exactly equal.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .block import Block
from .grid import Grid, Planes, Size, replace_axis, zero_planes
from .node import Context, Memory, Node
from .pair import floored
from .rows import Rows, congruence


class Linear(Node):
    """Sparse rows along one axis: padding, stride, slices, pools, resizes."""

    def __init__(self, source: Node, axis: int, rows: Rows):
        size = replace_axis(source.size, axis, rows.size)
        super().__init__((source,), size, gaussian=source.gaussian, centred=source.centred)
        self.axis, self.rows = axis, rows
        self.local = rows.progression is not None

    def reads(self, twin: Linear, wanted: Planes) -> Planes:  # type: ignore[override]
        if self.local and self.rows.progression == twin.rows.progression:
            step = self.rows.progression[0]  # type: ignore[index]
            return replace_axis(wanted, self.axis, tuple(step * d for d in wanted[self.axis]))
        return replace_axis(wanted, self.axis, self.rows.reads(twin.rows, wanted[self.axis]))

    def agrees(self, twin: Node) -> bool:
        assert isinstance(twin, Linear)
        alike = self.rows.size == twin.rows.size and self.rows.size_in == twin.rows.size_in
        return not alike or self.rows.same(twin.rows)  # a matrix that forward computes from the data differs

    @property
    def whole(self) -> bool:
        """Whether every row copies one position, so that distances are only moved."""
        return self.rows.copies and bool((self.rows.sums == 1).all())

    def remembers(self, distance: bool) -> bool:
        return distance  # even if whole: the other data set's may not be

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        (block,) = blocks
        dim = 1 + self.axis
        v = block.variances()
        kept = {"alpha": self.rows.apply(v, dim)}
        kept["sum"] = _along(self.rows.sums, v, self.axis, len(self.size)).expand_as(kept["alpha"])
        if self.rows.copies:
            kept["half"] = torch.zeros_like(kept["alpha"])
        else:
            zero = zero_planes(len(self.size))
            grid, change = congruence(self.rows, self.rows, self.axis, block.grid, zero)
            assert block.distance is not None
            kept["half"] = change(block.distance).reshape(-1, *grid.size1) / 2
        return kept

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else self.rows.apply(means[0], 1 + self.axis)

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,), twin = blocks, context.twin
        assert isinstance(twin, Linear)
        grid, change = congruence(self.rows, twin.rows, self.axis, block.grid, context.wanted)
        ntk = None if block.ntk is None else change(block.ntk)
        distance = None
        if context.distance and block.distance is not None:
            distance = change(block.distance)
            if not (self.whole and twin.whole):
                distance = self._completed(context, grid, distance, block, twin)
        return Block(grid, change(block.nngp), distance, ntk)

    def _completed(self, context: Context, grid: Grid, distance: Tensor, block: Block, twin: Linear) -> Tensor:
        a1, a2 = context.sides("alpha", grid)
        s1, s2 = context.sides("sum", grid)
        distance = distance + (s1 - s2) * (a1 - a2)
        if not (self.rows.copies and twin.rows.copies):
            h1, h2 = context.sides("half", grid)
            distance = torch.minimum(floored(distance - h1 - h2), self._cap(grid, block, twin))
        return grid.mask(distance)

    def _cap(self, grid: Grid, block: Block, twin: Linear) -> Tensor:
        """(sum a) sum_k a_k D12(i_k, j_k) where both rows have the same coefficients, infinity elsewhere."""
        assert block.distance is not None
        total: Tensor | float = 0.0
        slots = min(self.rows.index.shape[1], twin.rows.index.shape[1])
        for r in range(slots):
            one, two = (Rows(_slot(rows, r), rows.size_in) for rows in (self.rows, twin.rows))
            _, change = congruence(one, two, self.axis, block.grid, grid.planes, moved=False)
            total = total + change(block.distance)
        q, inside, _ = grid.partner(self.axis)
        width = max(self.rows.coef.shape[1], twin.rows.coef.shape[1])
        padded = (np.pad(rows.coef, ((0, 0), (0, width - rows.coef.shape[1]))) for rows in (self.rows, twin.rows))
        first, second = (torch.from_numpy(c) for c in padded)
        alike = inside & (first[None] == second[q]).all(-1) & (first >= 0).all(-1)
        factor = torch.where(alike, torch.from_numpy(self.rows.sums.copy()), torch.inf)
        bound = grid.spread(factor.to(block.nngp), self.axis)
        return torch.where(bound.isinf(), bound, torch.where(bound.isinf(), 0, bound) * total)

    def cost(self) -> int:
        return 2 * self.rows.index.shape[1] ** 2


def _slot(rows: Rows, r: int) -> list[list[tuple[int, float]]]:
    """One slot of rows, with the square root of its coefficient: both sides together give the coefficient."""
    return [[(int(i), float(c) ** 0.5)] if c > 0 else [] for i, c in zip(rows.index[:, r], rows.coef[:, r], strict=True)]


def _along(numbers: np.ndarray, like: Tensor, axis: int, n: int) -> Tensor:
    shape = [1] * n
    shape[axis] = len(numbers)
    return torch.from_numpy(numbers.copy()).to(like).reshape(1, *shape)


class Window(Node):
    """The tied sum over offsets of a convolution: out(p, q) = sum_k in(step p + k, step q + k). Planes do not meet."""

    def __init__(self, source: Node, axis: int, offsets: tuple[int, ...], step: int):
        out = (source.size[axis] - max(offsets) - 1) // step + 1
        super().__init__((source,), replace_axis(source.size, axis, out), gaussian=source.gaussian, centred=source.centred)
        self.axis, self.offsets, self.step = axis, offsets, step

    def reads(self, twin: Node, wanted: Planes) -> Planes:
        return replace_axis(wanted, self.axis, tuple(self.step * d for d in wanted[self.axis]))

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else self._tied(means[0], 1 + self.axis, self.size[self.axis])

    def _tied(self, v: Tensor, dim: int, size: int) -> Tensor:
        parts = [v[(slice(None),) * dim + (slice(k, k + self.step * (size - 1) + 1, self.step),)] for k in self.offsets]
        return sum(parts[1:], start=parts[0])

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        grid = Grid(
            context.wanted,
            replace_axis(block.grid.size1, self.axis, self.size[self.axis]),
            replace_axis(block.grid.size2, self.axis, context.twin.size[self.axis]),
        )
        block = block.select(self.reads(context.twin, context.wanted))
        dim = block.nngp.ndim - grid.n + self.axis
        return block.each(grid, lambda part: grid.mask(self._tied(part, dim, grid.size1[self.axis])))

    def cost(self) -> int:
        return len(self.offsets)


class Sum(Node):
    """The sum or mean over one axis, which is removed; reads every plane of it."""

    local = False

    def __init__(self, source: Node, axis: int, average: bool):
        super().__init__((source,), _without(source.size, axis), gaussian=source.gaussian, centred=source.centred)
        self.axis, self.positions, self.average = axis, source.size[axis], average
        self.weight = 1 / self.positions if average else 1.0

    def reads(self, twin: Sum, wanted: Planes) -> Planes:  # type: ignore[override]
        every = tuple(range(1 - self.positions, twin.positions))
        return (*wanted[: self.axis], every, *wanted[self.axis :])

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        (block,) = blocks
        v = block.variances()
        assert block.distance is not None
        zero = tuple((0,) if a != self.axis else p for a, p in enumerate(block.grid.planes))
        half = self._total(block.grid, block.grid.select(block.distance, zero)) * (self.weight**2 / 2)
        return {"alpha": v.sum(1 + self.axis) * self.weight, "half": half.reshape(-1, *self.size)}

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else means[0].sum(1 + self.axis) * self.weight

    def _total(self, grid: Grid, values: Tensor) -> Tensor:
        n = grid.n
        return values.sum((values.ndim - 2 * n + self.axis, values.ndim - n + self.axis))

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,), twin = blocks, context.twin
        assert isinstance(twin, Sum)
        block = block.select(self.reads(twin, context.wanted))
        grid = Grid(context.wanted, _without(block.grid.size1, self.axis), _without(block.grid.size2, self.axis))
        out = block.each(grid, lambda part: self._total(block.grid, part) * (self.weight * twin.weight))
        if out.distance is None or not context.distance:
            return Block(grid, out.nngp, None, out.ntk)
        (a1, a2), (h1, h2) = context.sides("alpha", grid), context.sides("half", grid)
        s1, s2 = self.weight * self.positions, twin.weight * twin.positions
        distance = out.distance - h1 - h2 + (s1 - s2) * (a1 - a2)
        if self.positions == twin.positions:
            zero = replace_axis(block.grid.planes, self.axis, (0,))
            equal = self._total(block.grid, block.grid.select(block.distance, zero))  # type: ignore[arg-type]
            distance = torch.minimum(floored(distance), equal * (s1 * self.weight))
        return Block(grid, out.nngp, grid.mask(floored(distance)), out.ntk)

    def cost(self) -> int:
        return 1


class Trace(Node):
    """The mean over equal positions of one axis, which is removed: what a Linear reads of flattened positions."""

    local = False

    def __init__(self, source: Node, axis: int):
        super().__init__((source,), _without(source.size, axis), gaussian=False, centred=source.centred)
        self.axis, self.positions, self.alike = axis, source.size[axis], False

    def agrees(self, twin: Node) -> bool:
        assert isinstance(twin, Trace)
        if self.positions != twin.positions:
            raise ValueError(
                f"{self.layer or 'the output'}: reads {self.positions} flattened positions of x1 and {twin.positions} of x2 as "
                "features, which must be as many. Expected inputs of one size, or a pool to one size before"
            )
        return True

    def reads(self, twin: Node, wanted: Planes) -> Planes:
        return (*wanted[: self.axis], (0,), *wanted[self.axis :])

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None if means[0] is None else means[0].mean(1 + self.axis)

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,) = blocks
        block = block.select(self.reads(context.twin, context.wanted))
        grid = Grid(context.wanted, _without(block.grid.size1, self.axis), _without(block.grid.size2, self.axis))
        n = block.grid.n

        def change(part: Tensor) -> Tensor:
            return part.mean((part.ndim - 2 * n + self.axis, part.ndim - n + self.axis))

        return block.each(grid, change)

    def cost(self) -> int:
        return 1


def _without(size: Size, axis: int) -> Size:
    return (*size[:axis], *size[axis + 1 :])
