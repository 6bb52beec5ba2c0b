"""Embeddings of tokens and sums over graphs: against networks drawn at random, by hand, and what is refused."""

import pytest
import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt

from .test_attention import check

n = tt.nn
V, T, C = 5, 4, 3


def read():
    return Sequential(Flatten(), n.Linear(4 * T, 1, w_std=1.1, b_std=0.3))


WORDS = {
    "ntk": lambda: Sequential(n.Embedding(V, 4, w_std=1.3), read()),
    "standard": lambda: Sequential(n.Embedding(V, 4, w_std=1.3, parameterization="standard"), read()),
    "padding": lambda: Sequential(n.Embedding(V, 4, 2, w_std=0.7), n.ReLU(), read()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_embeddings(name):
    check(WORDS[name](), torch.randint(0, V, (4, T)), 4000)


def test_an_embedding_is_a_linear_layer_on_one_hot_vectors():
    tokens = torch.randint(0, V, (3, T))
    one_hot = torch.nn.functional.one_hot(tokens, V).float() * V**0.5  # a Linear layer divides by the number of inputs
    linear = Sequential(n.Linear(V, 8, w_std=1.3, b_std=0.0), n.ReLU(), n.Linear(8, 1))
    words = Sequential(n.Embedding(V, 8, w_std=1.3), n.ReLU(), n.Linear(8, 1))
    for a, b in zip(tt.kernels(words, tokens), tt.kernels(linear, one_hot), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(tt.ntk(words, tokens, tokens[:2]), tt.ntk(words, tokens)[:, :2])


def test_tokens_without_positions_and_other_integers():
    layer = n.Embedding(V, 8)
    expected = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    for dtype in (torch.int64, torch.int32, torch.uint8):
        assert torch.equal(tt.ntk(layer, torch.tensor([1, 2, 1], dtype=dtype)), expected)
    assert tt.ntk(layer.double(), torch.tensor([1])).dtype == torch.float64


def test_masked_sentences_are_shorter_sentences():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.attention, self.read = n.Embedding(V, 8), n.SelfAttention(8, 2), n.Linear(8, 1)

        def forward(self, tokens):
            return self.read(torch.relu(self.attention(self.words(tokens))).mean(1))

    net, tokens = Net().double(), torch.randint(0, V, (2, T))
    mask = torch.arange(T) < torch.tensor([[T], [2]])
    torch.testing.assert_close(tt.ntk(net, tokens, mask1=mask)[0, 1], tt.ntk(net, tokens[:1], tokens[1:, :2])[0, 0])


def test_images_of_integers_that_forward_converts():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = n.Linear(4, 1)

        def forward(self, x):
            return self.a(x.float() / 255)

    x = torch.randint(0, 256, (3, 4), dtype=torch.uint8)
    torch.testing.assert_close(tt.ntk(Net(), x), tt.ntk(n.Linear(4, 1), x.float() / 255))


class Graph(torch.nn.Module):
    def __init__(self, sparse=False):
        super().__init__()
        self.sum, self.a, self.again, self.b = n.Aggregate(sparse), n.Linear(C, 8), n.Aggregate(sparse), n.Linear(8, 1)

    def forward(self, x, graph):
        return self.b(torch.relu(self.again(self.a(self.sum(x, graph)), graph)).mean(1))


@pytest.mark.slow
def test_graphs():
    check(Graph(), (torch.randn(3, T, C), torch.randn(3, T, T)), 4000)


def test_edges_are_matrices():
    x, edges = torch.randn(2, T, C), torch.tensor([[[0, 1], [1, 2], [0, 1], [-1, -1]], [[3, 3], [0, 2], [2, 0], [1, 0]]])
    matrix = torch.zeros(2, T, T)
    for i in range(2):
        for source, target in edges[i].tolist():
            if source >= 0:
                matrix[i, target, source] += 1
    dense, sparse = Graph(), Graph(True)
    sparse.load_state_dict(dense.state_dict())
    torch.testing.assert_close(sparse(x, edges), dense(x, matrix))
    for a, b in zip(tt.kernels(sparse, (x, edges)), tt.kernels(dense, (x, matrix)), strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(tt.kernels(dense, (x, matrix[0])), tt.kernels(dense, (x, matrix[:1].expand(2, -1, -1))), strict=True):
        torch.testing.assert_close(a, b)


def test_the_kernel_of_a_sum_by_hand():
    x, y = torch.randn(2, T, C, dtype=torch.float64), torch.randn(1, T + 1, C, dtype=torch.float64)
    one, two = torch.randn(2, T, T, dtype=torch.float64), torch.randn(1, T + 1, T + 1, dtype=torch.float64)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.sum = n.Linear(C, 8), n.Aggregate()

        def forward(self, x, graph):
            return self.sum(self.a(x), graph)

    k = tt.ntk(n.Linear(C, 8), x, y)
    expected = torch.einsum("apk,abkl,bql->abpq", one, k, two)
    torch.testing.assert_close(tt.ntk(Net(), (x, one), (y, two)), expected)


def test_graphs_of_different_sizes():
    net, x, graph = Graph(), torch.randn(2, T, C, dtype=torch.float64), torch.rand(2, T, T, dtype=torch.float64)
    mask = torch.arange(T) < torch.tensor([[T], [2]])
    graph[1, 2:], graph[1, :, 2:] = 0, 0
    padded = tt.kernels(net, (x, graph), mask1=mask)
    pair = tt.kernels(net, (x[:1], graph[:1]), (x[1:, :2], graph[1:, :2, :2]))
    alone = tt.kernels(net, (x[1:, :2], graph[1:, :2, :2]))
    for whole, cross, own in zip(padded, pair, alone, strict=True):
        torch.testing.assert_close(whole[0, 1], cross[0, 0])
        torch.testing.assert_close(whole[1, 1], own[0, 0])


def test_gradients_by_the_graph():
    x, graph = torch.randn(2, 3, C, dtype=torch.float64), torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    other = torch.rand(2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda graph: tt.kernels(Graph(), (x, graph), (x.flip(1), other)), (graph,))


class Fed(torch.nn.Module):
    """An embedding of what another layer returns."""

    def __init__(self):
        super().__init__()
        self.a, self.b = n.Embedding(V, 4), n.Embedding(V, 4)

    def forward(self, x):
        return self.b(self.a(x))


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.a = torch.nn.Embedding(V, 4), n.Linear(4, 1)

    def forward(self, x):
        return self.a(self.words(x))


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = n.Embedding(V, 4)

    def forward(self, x):
        return self.words(x) + self.words(x.flip(1))


TOKENS, X = torch.zeros(2, T, dtype=torch.long), torch.randn(2, T, C)
BAD = {
    "plain": (Plain, TOKENS, NotImplementedError, r"words \(Embedding\).*layer of the same name in torchtangents.nn"),
    "twice": (Twice, TOKENS, NotImplementedError, r"words \(Embedding\).*already used"),
    "max-norm": (lambda: n.Embedding(V, 4, max_norm=1.0), TOKENS, NotImplementedError, "Embedding: max_norm"),
    "range": (lambda: n.Embedding(V, 4), TOKENS + V, ValueError, "Embedding: expected tokens from 0 to 4, got 5 to 5"),
    "floats": (lambda: n.Embedding(V, 4), X, TypeError, "Embedding: expected tokens as a tensor of integers, got torch.float32"),
    "fed": (Fed, TOKENS, TypeError, r"b \(Embedding\): expected tokens .* values of another layer"),
    "linear": (lambda: n.Linear(T, 4), TOKENS, TypeError, r"Linear: expected numbers .*tt.nn.Embedding for tokens"),
    "graph-shape": (Graph, (X, torch.ones(2, T, T + 1)), ValueError, r"sum \(Aggregate\): expected a graph of shape|expected a graph"),
    "graph-batch": (Graph, (X, torch.ones(3, T, T)), ValueError, "expected a graph of shape"),
    "edges-of-floats": (lambda: Graph(True), (X, torch.ones(2, 3, 2)), TypeError, "expected edges as integers"),
    "edges-range": (lambda: Graph(True), (X, torch.full((2, 3, 2), T)), ValueError, "expected edges between nodes 0 to 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_by_name(name):
    build, data, error, pattern = BAD[name]
    with pytest.raises(error, match=f"(?s){pattern}"):
        tt.ntk(build(), data)


def test_a_graph_of_recorded_values_is_refused():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.sum = n.Linear(C, T), n.Linear(C, 4), n.Aggregate()

        def forward(self, x):
            return self.sum(self.b(x), self.a(x))

    with pytest.raises(tt.UnsupportedError, match=r"sum \(Aggregate\): expected a graph of plain numbers"):
        tt.ntk(Net(), X)
