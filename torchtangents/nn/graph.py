"""Layers over graphs."""

from __future__ import annotations

from torch import Tensor

from ..covariance.active import batch
from ..covariance.graphs import edges_to_matrix
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .layer import Layer


class Aggregate(Layer):
    """The sum over neighbours of every node: (N, V, C) -> (N, V, C), out(p) = sum_q A(p, q) x(q).

    K' = A1 K A2^T,  Theta' = A1 Theta A2^T, with the graph of each input. A graph convolution is a Linear layer and this; weights
    of edges, self loops and normalisation by degree are numbers in A. Graphs of different sizes are padded with nodes of no data
    and no edges, with `mask1=` and `mask2=` (N, V) of `tt.ntk` where their mean is taken, or a bias makes them differ from 0.

    Args:
        sparse: graphs are lists of edges in place of matrices.

    forward(input, graph): input (N, V, C); graph a matrix A of numbers (N, V, V), or (V, V) for all inputs; with sparse=True
    integers (N, E, 2), edges from the first node to the second, so A[second, first] = 1; repeated edges add up, -1 is no edge.
    The kernel takes both as one argument: tt.ntk(net, (x1, graph1), (x2, graph2)).

    Raises:
        ValueError, TypeError: a graph that does not fit the input.
        UnsupportedError: a value that is not (N, V, C), or a graph made of recorded values.

    Du et al. 2019 (arXiv 1905.13192).

    Example:
        >>> import torch, torchtangents as tt
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.a, self.sum, self.b = tt.nn.Linear(3, 8), tt.nn.Aggregate(), tt.nn.Linear(8, 1)
        ...     def forward(self, x, graph):
        ...         return self.b(torch.relu(self.sum(self.a(x), graph)).mean(1))
        >>> x, graph = torch.randn(2, 4, 3), torch.ones(2, 4, 4)
        >>> tt.ntk(Net(), (x, graph)).shape
        torch.Size([2, 2])
    """

    def __init__(self, sparse: bool = False):
        super().__init__()
        self.sparse = sparse

    def forward(self, input: Tensor, graph: Tensor) -> Tensor:
        return self._matrix(graph, input.shape[0], input.shape[1]).to(input) @ input

    def _matrix(self, graph: Tensor, n: int, nodes: int) -> Tensor:
        """A, (N, V, V) or (V, V)."""
        if not isinstance(graph, Tensor):
            refuse("expected a graph of plain numbers, not of recorded values (attention over edges has no rule)")
        if self.sparse:
            if graph.is_floating_point() or graph.ndim != 3 or graph.shape[-1] != 2:
                raise TypeError(placed(f"expected edges as integers (N, E, 2), got {graph.dtype} of {tuple(graph.shape)}"))
            if graph.numel() and int(graph.max()) >= nodes:
                raise ValueError(placed(f"expected edges between nodes 0 to {nodes - 1}, got node {int(graph.max())}"))
            matrix = edges_to_matrix(graph, nodes)
        else:
            matrix = graph
        if tuple(matrix.shape) not in ((n, nodes, nodes), (nodes, nodes)):
            raise ValueError(placed(f"expected a graph of shape ({n}, {nodes}, {nodes}), got {tuple(matrix.shape)}"))
        return matrix

    def propagate(self, k: State, graph: Tensor) -> State:  # type: ignore[override]
        if len(k.shape) != 2:
            refuse(f"expected (N, V, C), got {(-1, *k.shape)}")
        return k.aggregate(self._matrix(graph, batch(), k.shape[0]))

    def extra_repr(self) -> str:
        return f"sparse={self.sparse}"
