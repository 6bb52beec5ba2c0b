"""A Gaussian added to a function of another Gaussian that it is correlated with."""

from __future__ import annotations

from torch import Tensor

from .block import Block
from .combine import Scalar, weighted
from .node import Context, Memory, Node
from .pair import as_column, floored
from .pointwise import Pointwise


class Correlated(Node):
    """g + c f(s) with g = sum a_i h_i, s = sum b_i h_i of independent Gaussians h_i: Stein's lemma (1981, Ann. Stat. 9).

    E g f(s') = sum a_i b_i K_i(x, x') E f'(s'), so with m = E f'(s) of each input, K_gs = sum a_i b_i K_i and V = K_gs(x, x),

    K' = K_gg + c (m1 + m2) K_gs + c^2 E f f',   D' = D_gg + c (m1 + m2) D_gs + c (V1 - V2)(m1 - m2) + c^2 D_f;

    the NTK is the same sum with E f' f' in its last term.
    """

    def __init__(self, parts: tuple[Node, ...], a: tuple[Scalar, ...], b: tuple[Scalar, ...], c: Scalar, function: Pointwise):
        super().__init__((*parts, function), function.size, gaussian=False, centred=False)
        self.a, self.b, self.c = a, b, c
        self.dual = function.dual

    def uses_mean(self, asked: bool) -> bool:
        return asked

    def remembers(self, distance: bool) -> bool:
        return True

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        v = [block.variances() for block in blocks[:-1]]
        b2, ab, _, c = self._scales(v[0])
        total = weighted(b2, v)
        return {"steep": c * self.dual.regression(total), "slope": c * self.dual.mean_slope(total), "shared": weighted(ab, v)}  # type: ignore[arg-type,dict-item]

    def _scales(self, like: Tensor) -> tuple[list[Scalar], list[Scalar], list[Scalar], Scalar]:
        a, b = ([as_column(v, like) for v in values] for values in (self.a, self.b))
        cross = [x * y for x, y in zip(a, b, strict=True)]
        return [y * y for y in b], cross, [x * x for x in a], as_column(self.c, like)

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        last = means[-1]
        return None if last is None else as_column(self.c, last) * last

    def run(self, context: Context, *blocks: Block) -> Block:
        *parts, f = (b.select(context.wanted) for b in blocks)
        grid = f.grid
        _, ab, aa, c = self._scales(f.nngp)
        m1, m2 = context.sides("steep", grid)

        def summed(pick, rise: Tensor) -> Tensor:
            held = [pick(p) for p in parts]
            return weighted(aa, held) + rise * weighted(ab, held) + c * c * pick(f)  # type: ignore[operator]

        q = grid.mask(summed(lambda b: b.nngp, m1 + m2))
        d = ntk = None
        if context.distance:
            v1, v2 = context.sides("shared", grid)
            d = summed(lambda b: b.distance, m1 + m2) + (v1 - v2) * (m1 - m2)
            d = grid.mask(floored(d))
        if f.ntk is not None:
            left, right = context.sides("slope", grid)
            ntk = grid.mask(summed(lambda b: b.ntk, left + right))
        return Block(grid, q, d, ntk)

    def agrees(self, twin: Node) -> bool:
        assert isinstance(twin, Correlated)
        mine, other = ((*n.a, *n.b, n.c) for n in (self, twin))
        return all(x is y or float(x) == float(y) for x, y in zip(mine, other, strict=True))

    def cost(self) -> int:
        return 8 * len(self.inputs)
