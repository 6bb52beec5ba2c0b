"""Sums over the neighbours in a graph, one graph for each input."""

from __future__ import annotations

from torch import Tensor

from .block import Block
from .node import Context, Node
from .whole import Mix


class Aggregated(Mix):
    """h'(p) = sum_q A(p, q) h(q): K' = A1 K A2^T (Du et al. 2019, arXiv 1905.13192)."""

    def __init__(self, source: Node, adjacency: Tensor):  # (N, V, V) or (V, V)
        super().__init__(source, source.size)
        self.adjacency = adjacency

    def rows(self, context: Context, *blocks: Block) -> Tensor:
        (block,) = blocks
        if self.adjacency.ndim == 2:  # one graph for all
            return self.adjacency.to(block.nngp).expand(len(block.nngp), -1, -1)
        return self.adjacency[context.batch1].to(block.nngp)


def edges_to_matrix(edges: Tensor, nodes: int) -> Tensor:
    """Edges (N, E, 2), each from a source to a target, as A (N, V, V): A[target, source] counts them; -1 is no edge."""
    source, target = edges.long().unbind(-1)
    present = ((source >= 0) & (target >= 0)).double()
    flat = present.new_zeros(len(edges), nodes * nodes)
    return flat.scatter_add(1, (target.clamp_min(0) * nodes + source.clamp_min(0)), present).reshape(-1, nodes, nodes)
