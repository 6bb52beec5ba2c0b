"""Cases over tokens: attention, positional embeddings, transformers. Merged into tests/cases.py."""

import torch
from torch.nn import Sequential

import torchtangents as tt

n = tt.nn
T, C = 5, 4


def head(width=8):
    return Sequential(torch.nn.Flatten(), n.Linear(width * T, 1, w_std=1.2))


def encoder(width=C, **options):
    return n.TransformerEncoderLayer(width, 2, 12, **options)


class Transposed(torch.nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


def attention(**options):
    """Random features, attention of them, a kink, and a read-out of every position."""
    body = n.SelfAttention(8, 2, w_std=1.3, **options)
    return lambda: Sequential(n.Linear(C, 8, w_std=1.2), n.ReLU(), body, n.ReLU(), head())


class Residual(torch.nn.Module):
    """x + attention(LayerNorm(x)), pooled."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.attention = n.Linear(C, 8), n.LayerNorm(8), n.SelfAttention(8, 2)
        self.linear, self.read = n.Linear(8, 8), n.Linear(8, 1)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.attention(self.norm(x))
        return self.read(torch.relu(self.linear(x)).mean(1))


class Patches(torch.nn.Module):
    """A convolution, its positions as tokens in the order of columns, attention, and a pool."""

    def __init__(self, causal=False):
        super().__init__()
        self.stem, self.attention, self.read = n.Conv2d(3, 8, 3, stride=2), n.SelfAttention(8, 2, causal=causal), n.Linear(8, 1)
        self.position = n.PositionalEmbedding((8, 3, 2), 0.5, channel_dim=1, decay=lambda d: torch.exp(-d))

    def forward(self, x):
        x = self.position(torch.relu(self.stem(x)))
        x = self.attention(x.permute(0, 3, 2, 1).flatten(1, 2))
        return self.read(torch.relu(x).mean(1))


def position(*layers, **options):
    return lambda: Sequential(n.Linear(C, 8), n.PositionalEmbedding((T, 8), **options), *layers, n.ReLU(), head())


def decay(d):
    return torch.exp(-0.5 * d)


TOKENS = {
    "attention-softmax": attention(),
    "attention-relu": attention(scores="relu", key_std=0.8),
    "attention-abs": attention(scores="abs"),
    "attention-identity": attention(scores="identity", value_std=0.9),
    "attention-root": attention(scores="identity", scale="1/sqrt(d)", key_std=0.6),
    "attention-root-causal": attention(scores="identity", scale="1/sqrt(d)", key_std=0.6, causal=True),
    "attention-causal": attention(causal=True, bias=False),
    "attention-standard": attention(parameterization="standard"),
    "attention-first": lambda: Sequential(n.SelfAttention(C, 2), n.SelfAttention(C, 1), n.ReLU(), n.Linear(C, 8), head()),
    "attention-residual": Residual,
    "attention-positions": lambda: Sequential(n.Linear(C, 8), n.SelfAttention(8), n.Erf(), n.Linear(8, 8)),
    "attention-keys": attention(positions=n.PositionalEmbedding((T, 8), 0.6)),
    "attention-keys-root": attention(positions=n.PositionalEmbedding((T, 3), 0.6, mode="cat"), scores="identity", scale="1/sqrt(d)"),
    "encoder-pre-norm": lambda: Sequential(encoder(activation="gelu", norm_first=True), encoder(norm_first=True), n.LayerNorm(C), head(C)),
    "encoder-post-norm": lambda: Sequential(encoder(causal=True), encoder(scores="relu", b_std=0.3), n.Linear(C, 8), n.ReLU(), head()),
    "encoder-of-torch": lambda: Sequential(n.Linear(C, 8), torch.nn.TransformerEncoder(n.TransformerEncoderLayer(8, 2, 12), 2, enable_nested_tensor=False), head()),
    "position-add": position(std=0.7),
    "position-decay": position(std=0.7, decay=decay, parameterization="standard"),
    "position-shared": lambda: Sequential(n.PositionalEmbedding((1, C), 0.7), n.Linear(C, 8), n.ReLU(), head()),
    "position-cat": lambda: Sequential(n.PositionalEmbedding((T, 2), 0.7, mode="cat"), n.SelfAttention(C + 2), n.Linear(C + 2, 8), head()),
}  # fmt: skip


class Graph(torch.nn.Module):
    """Two graph convolutions and a mean over the nodes."""

    def __init__(self, sparse=False):
        super().__init__()
        self.a, self.b, self.c = n.Linear(C, 8), n.Linear(8, 8), n.Linear(8, 1)
        self.first, self.second = n.Aggregate(sparse), n.Aggregate(sparse)

    def forward(self, x, graph):
        x = torch.relu(self.first(self.a(x), graph))
        return self.c(torch.relu(self.b(self.second(x, graph))).mean(1))


def words(*layers):
    """Tokens, of which 0 is padding; in float64 as its inputs have no dtype to follow."""
    return lambda: Sequential(n.Embedding(6, 8, 0, w_std=1.3), *layers).double()


WORDS = {
    "embedding": words(n.ReLU(), head()),
    "embedding-standard": lambda: Sequential(n.Embedding(6, 8, parameterization="standard"), n.Linear(8, 8), n.Abs(), head()).double(),
    "embedding-conv": lambda: Sequential(n.Embedding(6, 8), Transposed(), n.Conv1d(8, 8, 3, padding=1), n.ReLU(), n.GlobalAvgPool()).double(),
    "embedding-attention": words(n.PositionalEmbedding((T, 8), 0.5), encoder(8, norm_first=True), n.LayerNorm(8), n.Linear(8, 8), n.ReLU(), head()),
}  # fmt: skip


class Recurrent(torch.nn.Module):
    """A recurrent net, read at the last time, as a mean over time, or at all times."""

    def __init__(self, read, nonlinearity, layers=1, times=None, **options):
        super().__init__()
        self.times = times
        self.rnn = n.RNN(C, 8, layers, nonlinearity, w_std=1.2, hidden_std=1.3, b_std=0.2, **options)
        self.how, self.read = read, n.Linear(16 if self.rnn.bidirectional else 8, 1)

    def forward(self, x):
        output, last = self.rnn(x if self.times is None else x[:, : self.times])
        return self.read({"last": lambda: last[-1], "mean": lambda: output.mean(1), "all": lambda: output}[self.how]())


TIMES = {
    "rnn-relu-last": lambda: Recurrent("last", "relu"),
    "rnn-relu-mean": lambda: Recurrent("mean", "relu", 2),
    "rnn-relu-all": lambda: Recurrent("all", "relu", 2, parameterization="standard"),
    "rnn-erf-last": lambda: Recurrent("last", "erf", 2, bias=False),
    "rnn-erf-mean": lambda: Recurrent("mean", "erf"),
    "rnn-both-ways": lambda: Recurrent("mean", "relu", 2, bidirectional=True),
    "rnn-tanh-last": lambda: Recurrent("last", "tanh", times=3),
    "rnn-after": lambda: Sequential(n.Linear(C, C), n.ReLU(), Recurrent("mean", "relu")),
}
BY_QUADRATURE = {"rnn-tanh-last"}
GRAPHS = {"graph": Graph, "graph-sparse": lambda: Graph(True)}
IMAGES = {"attention-patches": Patches, "attention-patches-causal": lambda: Patches(True)}
NETS = {**TOKENS, **TIMES, **IMAGES, **WORDS, **GRAPHS}
NO_COMPILED_RULE = set(NETS)


def normal(shape, count, dtype, seed):
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def tokens(count, dtype, seed):
    return torch.randint(0, 6, (count, T), generator=torch.Generator().manual_seed(seed))


def graphs(sparse):
    """Nodes with features, and weights or lists of edges."""

    def drawn(count, dtype, seed):
        x, generator = normal((T, C), count, dtype, seed), torch.Generator().manual_seed(seed + 1)
        if sparse:
            return x, torch.randint(-1, T, (count, 20, 2), generator=generator)
        return x, torch.rand(count, T, T, generator=generator, dtype=dtype)

    return drawn


INPUTS = {
    **dict.fromkeys(WORDS, tokens),
    "graph": graphs(False),
    "graph-sparse": graphs(True),
    **{name: (lambda count, dtype, seed: normal((T, C), count, dtype, seed)) for name in {**TOKENS, **TIMES}},
    **{name: (lambda count, dtype, seed: normal((3, 7, 5), count, dtype, seed)) for name in IMAGES},
}
