"""Self-attention in the limit of many heads: Hron, Bahri, Sohl-Dickstein and Novak 2020 (arXiv 2006.10540)."""

from __future__ import annotations

import torch
from torch import Tensor

from .block import Block
from .node import Context, Memory, Node
from .pair import as_column, floored, safe_sqrt
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
    """1/d scores with tied query and key weights: of each input alone, G = f(scale K_s(x, x)), and K' = G1 K G2^T.

    K_s is the covariance of what queries and keys see, K that of what values see; they may differ by positional embeddings.
    """

    def __init__(self, source: Node, seen: Node, scale: float | Tensor, scores: str, allowed: Tensor | None):
        super().__init__(source, source.size, seen)
        self.scale, self.scores, self.allowed = scale, scores, allowed  # (N or 1, T, T) booleans

    def rows(self, context: Context, *blocks: Block) -> Tensor:
        logits = whole(blocks[1].grid, blocks[1].nngp)
        return attention_weights(logits * as_column(self.scale, logits), self.scores, _part(self.allowed, context.batch1, logits))


class Bilinear(Dense):
    """1/sqrt(d) scores without a nonlinearity: with c(p, q) the sum of K_s K (k, l) over the keys k, l that p and q may read,

    K' = c K_s,   Theta' = c Theta_s + K_s sum_kl (K_s Theta + K Theta_s)(k, l).
    D' at equal positions is at most (sqrt(c1 D_s) + y_s sum_k (d_s x + y_s d)(k))^2, exactly 0 for equal inputs.
    """

    def __init__(self, source: Node, seen: Node, allowed: Tensor | None):
        super().__init__((source, seen), source.size, gaussian=False, centred=True)
        self.allowed = allowed

    def uses_mean(self, asked: bool) -> bool:
        return False

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        return None

    def remembers(self, distance: bool) -> bool:
        return distance

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        k, seen = (whole(b.grid, b.nngp) for b in blocks)
        v, v_seen = (b.variances() for b in blocks)
        c = self._over_keys(context, k * seen).diagonal(dim1=1, dim2=2).reshape(v.shape)
        return {"deviation": safe_sqrt(v), "seen": safe_sqrt(v_seen), "sum": c, "v": c * v_seen}

    def _over_keys(self, context: Context, k: Tensor) -> Tensor:
        """sum over k, l of K(k, l), for every pair of queries: (*batch, T1, T2)."""
        twin = context.twin
        assert isinstance(twin, Bilinear)
        if self.allowed is None or twin.allowed is None:
            return k.sum((-2, -1), keepdim=True).expand_as(k)
        one, two = _part(self.allowed, context.batch1, k), _part(twin.allowed, context.batch2, k)
        assert one is not None
        assert two is not None
        a1, a2 = self.spread(context, one.to(k), two.to(k))
        return a1 @ k @ a2.transpose(-1, -2)

    def run(self, context: Context, *blocks: Block) -> Block:
        grid = self.grid(context)
        k, seen = (whole(b.grid, b.nngp) for b in blocks)
        c = self._over_keys(context, k * seen)
        nngp = self.planes(grid, c * seen)
        ntk = None
        if blocks[0].ntk is not None and blocks[1].ntk is not None:
            theta, theta_seen = (whole(b.grid, b.ntk) for b in blocks)  # type: ignore[arg-type]
            both = self._over_keys(context, seen * theta + k * theta_seen)
            ntk = self.planes(grid, c * theta_seen + seen * both)
        distance = None
        if context.distance:
            v1, v2 = context.sides("v", grid)
            distance = floored(v1 + v2 - 2 * nngp)
            if self.size == context.twin.size and self.allowed is None:
                distance = torch.minimum(distance, self._bound(context, *blocks))
            distance = grid.mask(distance)
        return Block(grid, nngp, distance, ntk)

    def _bound(self, context: Context, *blocks: Block) -> Tensor:
        d, d_seen = (safe_sqrt(whole(b.grid, b.distance)) for b in blocks)  # type: ignore[arg-type]
        one, two = ({k: v.flatten(1) for k, v in m.items()} for m in (context.memory1, context.memory2))
        x, y = self.spread(context, one["deviation"], two["seen"])
        root, _ = self.spread(context, safe_sqrt(one["sum"]), two["sum"])
        near, near_seen = (part.diagonal(dim1=-2, dim2=-1) for part in (d, d_seen))
        apart = (near_seen * x + y * near).sum(-1)[..., None, None]
        return self.planes(self.grid(context), (root[..., :, None] * d_seen + y[..., None, :] * apart).square())

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
        both = each if both is None else both.to(each.device) & each
    return both


def _part(allowed: Tensor | None, batch: slice, like: Tensor) -> Tensor | None:
    """Of the inputs in a batch, where there is one for each input, on the device of `like`."""
    return allowed if allowed is None else (allowed if len(allowed) == 1 else allowed[batch]).to(like.device)
