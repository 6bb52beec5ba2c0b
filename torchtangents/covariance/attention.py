"""Self-attention in the limit of many heads: Hron, Bahri, Sohl-Dickstein and Novak 2020 (arXiv 2006.10540)."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .node import Context, Memory, Node
from .pair import as_column, safe_sqrt
from .whole import Dense, Mix, count, whole

SCORES = ("softmax", "relu", "abs", "identity")


def attention_weights(logits: Tensor, scores: str, allowed: Tensor | None) -> Tensor:
    """The weights of keys (.., T, T) from the logits; keys that are not allowed get 0, and so a query without any."""
    if scores == "softmax":
        if allowed is not None:
            logits = logits.masked_fill(~allowed, torch.finfo(logits.dtype).min)
        weights = logits.softmax(-1)
    else:
        weights = {"relu": logits.clamp_min(0), "abs": logits.abs(), "identity": logits}[scores]
    return weights if allowed is None else weights * allowed


class Attend(Mix):
    """1/d scores with tied query and key weights: of each input alone, G = f(scale K(x, x)), and K' = G1 K G2^T."""

    def __init__(self, source: Node, scale: float | Tensor, scores: str, allowed: Tensor | None):
        super().__init__(source, source.size)
        self.scale, self.scores, self.allowed = scale, scores, allowed  # (N or 1, T, T) booleans

    def rows(self, context: Context, block: Block) -> Tensor:
        logits = whole(block.grid, block.nngp)
        return attention_weights(logits * as_column(self.scale, logits), self.scores, _part(self.allowed, context.batch1))


class Bilinear(Dense):
    """1/sqrt(d) scores without a nonlinearity: with c(p, q) the sum of K(k, l)^2 over the keys k, l that p and q may read,

    K' = c K,   Theta' = c Theta + 2 K sum_kl K(k, l) Theta(k, l).
    D' at equal positions is at most (sqrt(c1 D) + y sum_k d(k) (x(k) + y(k)))^2, exactly 0 for equal inputs.
    """

    def __init__(self, source: Node, allowed: Tensor | None):
        super().__init__((source,), source.size, gaussian=False, centred=True)
        self.allowed = allowed

    def uses_mean(self, asked: bool) -> bool:
        return False

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        v = blocks[0].variances()
        k = whole(blocks[0].grid, blocks[0].nngp)
        c = self._over_keys(context, k * k).diagonal(dim1=1, dim2=2)
        return {"deviation": safe_sqrt(v), "sum": c.reshape(v.shape), "v": c.reshape(v.shape) * v}

    def _over_keys(self, context: Context, k: Tensor) -> Tensor:
        """sum over k, l of K(k, l), for every pair of queries: (*batch, T1, T2)."""
        twin = context.twin
        assert isinstance(twin, Bilinear)
        if self.allowed is None or twin.allowed is None:
            return k.sum((-2, -1), keepdim=True).expand_as(k)
        pair = _part(self.allowed, context.batch1).to(k), _part(twin.allowed, context.batch2).to(k)  # type: ignore[union-attr]
        a1, a2 = self.spread(context, *pair)
        return a1 @ k @ a2.transpose(-1, -2)

    def run(self, context: Context, *blocks: Block) -> Block:
        (block,), grid = blocks, self.grid(context)
        k = whole(block.grid, block.nngp)
        c = self._over_keys(context, k * k)
        nngp = self.planes(grid, c * k)
        ntk = None
        if block.ntk is not None:
            theta = whole(block.grid, block.ntk)
            ntk = self.planes(grid, c * theta + 2 * k * self._over_keys(context, k * theta))
        distance = None
        if context.distance and block.distance is not None:
            v1, v2 = context.sides("v", grid)
            distance = (v1 + v2 - 2 * nngp).clamp_min(0)
            if self.size == context.twin.size and self.allowed is None:
                distance = torch.minimum(distance, self._bound(context, block))
            distance = grid.mask(distance)
        return Block(grid, nngp, distance, ntk)

    def _bound(self, context: Context, block: Block) -> Tensor:
        grid = self.grid(context)
        d = safe_sqrt(whole(block.grid, block.distance))  # type: ignore[arg-type]
        one, two = ({k: v.flatten(1) for k, v in m.items()} for m in (context.memory1, context.memory2))
        x, y = self.spread(context, one["deviation"], two["deviation"])
        root, _ = self.spread(context, safe_sqrt(one["sum"]), two["sum"])
        apart = (d.diagonal(dim1=-2, dim2=-1) * (x + y)).sum(-1)[..., None, None]
        return self.planes(grid, (root[..., :, None] * d + y[..., None, :] * apart).square())

    def cost(self) -> int:
        return 8


def allowed_keys(keys: Tensor | None, pairs: Tensor | None, tags: tuple[int, ...], sizes: tuple[int, ...]) -> Tensor | None:
    """Which keys each query may read, (N or 1, T, T): keys (N, T), pairs (T, T), positions in the order of the axes `tags`.

    The result is in the order of the axes 0, 1, ..
    """
    if keys is None and pairs is None:
        return None
    by_axis = sorted(range(len(tags)), key=lambda i: tags[i])
    order = torch.arange(count(sizes)).reshape([sizes[t] for t in tags]).permute(by_axis).flatten()
    both = None if pairs is None else pairs[order][:, order][None]
    if keys is not None:
        each = keys[:, order][:, None].expand(-1, len(order), -1)
        both = each if both is None else both & each
    return both


def _part(allowed: Tensor | None, batch: slice) -> Tensor | None:
    """Of the inputs in a batch, where there is one for each input."""
    return allowed if allowed is None or len(allowed) == 1 else allowed[batch]
