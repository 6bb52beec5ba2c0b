"""Attention and positional embeddings against networks drawn at random."""

import math

import pytest
import torch
from torch.func import functional_call, jacrev, vmap
from torch.nn import Flatten, Sequential

import torchtangents as tt
from torchtangents.covariance.attention import attention_weights

n = tt.nn
T, C, WIDE = 3, 4, 256


def law(layer, name, parameter):
    """The standard deviation of a parameter in the standard parametrisation (1 in the other)."""
    if getattr(layer, "parameterization", "ntk") == "ntk":
        return 1.0
    if isinstance(layer, n.PositionalEmbedding | n.Embedding):
        return layer.w_std
    if "bias" in name:
        return layer.b_std
    if "weight_hh" in name:
        return layer.hidden_std / math.sqrt(parameter.shape[1])
    std = {"v_proj_weight": "value_std", "k_proj_weight": "key_std", "q_proj_weight": "key_std"}.get(name, "w_std")
    return getattr(layer, std) / math.sqrt(parameter.shape[1])


def draw(net, count):
    """Parameters of `count` networks."""
    out = {}
    for prefix, layer in net.named_modules():
        for name, p in layer.named_parameters(recurse=False):
            key = f"{prefix}.{name}" if prefix else name
            if isinstance(layer, torch.nn.LayerNorm):
                out[key] = p.detach().expand(count, *p.shape)
                continue
            out[key] = torch.randn(count, *p.shape) * law(layer, name, p)
            if getattr(layer, "padding_idx", None) is not None:
                out[key][:, layer.padding_idx] = 0
    return out


def check(net, args, count, bias=0.0, chunk=250, exact=None):
    """The mean of empirical kernels within 4 standard errors, and a bias of so much of the largest entry."""
    args = args if isinstance(args, tuple) else (args,)
    weights = draw(net, count)

    def one(w):
        def output(w):
            return functional_call(net, w, args)[:, 0]

        jacobian = jacrev(output)(w)
        flat = torch.cat([j.reshape(len(args[0]), -1) for j in jacobian.values()], 1)
        return torch.stack([output(w)[:, None] * output(w)[None], flat @ flat.T])

    samples = vmap(one, chunk_size=chunk)(weights)
    for drawn, limit in zip(samples.unbind(1), exact or tt.kernels(net, args), strict=True):
        error = 4 * drawn.std(0) / math.sqrt(count) + bias * limit.abs().max() + 1e-6
        assert ((drawn.mean(0) - limit).abs() < error).all(), (drawn.mean(0), limit, error)


def read():
    return Sequential(Flatten(), n.Linear(T * C, 1, w_std=1.1, b_std=0.3))


STANDARD = {"parameterization": "standard", "w_std": 1.2, "b_std": 0.4, "key_std": 1.1, "value_std": 0.9}
LINEAR = {
    "softmax": {"key_std": 1.4},
    "relu": {"scores": "relu", "w_std": 1.2, "value_std": 0.7},
    "abs": {"scores": "abs"},
    "identity": {"scores": "identity", "b_std": 0.5},
    "causal": {"causal": True, "key_std": 1.3, "bias": False},
    "standard": STANDARD,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_scores_over_d(name):
    """Scores are averages over key_dim: a bias of a few over it is allowed. The keys' own derivatives vanish as 1 / key_dim."""
    net = Sequential(n.SelfAttention(C, 1, key_dim=WIDE, value_dim=4, **LINEAR[name]), read())
    check(net, torch.randn(3, T, C), 8000, bias=4 / WIDE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "causal", "standard"])
def test_scores_over_the_root_of_d(name):
    """Without a nonlinearity the expected kernels are exact at any width."""
    options = {"plain": {"key_std": 0.8}, "causal": {"causal": True, "value_std": 0.6}, "standard": STANDARD}[name]
    net = Sequential(n.SelfAttention(C, 2, scores="identity", scale="1/sqrt(d)", key_dim=8, value_dim=2, **options), read())
    check(net, torch.randn(3, T, C), 8000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"key_std": 1.3}, {"scores": "identity", "scale": "1/sqrt(d)", "value_std": 0.8}], ids=["over-d", "root"]
)
def test_attention_of_random_features(options):
    """The NTK of what comes before: features are Gaussian at infinite width, a bias of a few over the width is allowed."""
    wide = 128
    attention = n.SelfAttention(wide, 1, b_std=0.3, **options)
    net = Sequential(n.Linear(C, wide, w_std=1.2), attention, Flatten(), n.Linear(T * wide, 1))
    check(net, torch.randn(3, T, C), 2000, bias=2 / wide, chunk=50)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["add", "cat"])
@pytest.mark.parametrize("scale", ["1/d", "1/sqrt(d)"])
def test_positions_that_only_queries_and_keys_see(scale, mode):
    """Their covariance is a mean over channels, so a bias of a few over their number is allowed."""
    channels = 96
    positions = n.PositionalEmbedding((T, channels), 0.8, mode=mode)
    scores = {"scores": "identity"} if scale == "1/sqrt(d)" else {}
    body = n.SelfAttention(channels, 1, scale=scale, positions=positions, key_dim=channels, value_dim=8, **scores, **STANDARD)
    net = Sequential(body, Flatten(), n.Linear(T * channels, 1))
    check(net, torch.randn(3, T, channels), 1000, bias=4 / channels, chunk=50)


class Masked(torch.nn.Module):
    """Attention with padding, its mask an argument of forward."""

    def __init__(self, **options):
        super().__init__()
        self.attention, self.read = n.SelfAttention(C, 1, key_dim=WIDE, **options), read()

    def forward(self, x, padding):
        return self.read(self.attention(x, key_padding_mask=padding))


PADDING = torch.tensor([[False, False, True], [False, False, False], [True, True, True]])


@pytest.mark.slow
@pytest.mark.parametrize("scores", ["softmax", "relu"])
def test_key_padding_masks_as_arguments(scores):
    check(Masked(scores=scores), (torch.randn(3, T, C), PADDING), 8000, bias=4 / WIDE)


POSITIONS = {
    "add": lambda: Sequential(n.PositionalEmbedding((T, C), 0.8), read()),
    "shared": lambda: Sequential(n.PositionalEmbedding((1, C), 0.8), read()),
    "decay": lambda: Sequential(n.PositionalEmbedding((T, C), 0.8, decay=lambda d: torch.exp(-d)), n.Linear(C, C), n.ReLU(), read()),
    "standard": lambda: Sequential(
        n.PositionalEmbedding((T, C), 0.8, decay=lambda d: torch.exp(-d), parameterization="standard"), read()
    ),
    "cat": lambda: Sequential(n.PositionalEmbedding((T, 2), 0.8, mode="cat"), n.Linear(C + 2, C), read()),
    "images": lambda: Sequential(n.PositionalEmbedding((C, 3, 1), 0.8, channel_dim=1), n.Conv2d(C, 4, 1), n.GlobalAvgPool()),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", POSITIONS)
def test_positional_embeddings(name):
    check(POSITIONS[name](), torch.randn(3, C, 3, 2) if name == "images" else torch.randn(3, T, C), 4000)


def test_the_limit_by_hand():
    """One linear attention layer: G K G^T with G the softmax of each input's own covariance."""
    x = torch.randn(2, T, C, dtype=torch.float64)
    k = torch.einsum("apc,bqc->abpq", x, x) / C
    g = (1.3**2 * torch.stack([k[0, 0], k[1, 1]])).softmax(-1)
    expected = torch.einsum("apk,abkl,bql->abpq", g, k, g) * (1.1 * 0.9) ** 2
    mine = tt.kernels(n.SelfAttention(C, w_std=1.1, value_std=0.9, key_std=1.3, b_std=0.2), x)
    torch.testing.assert_close(mine.nngp, expected + 0.04)
    torch.testing.assert_close(mine.ntk, 2 * expected + 0.04)


def test_the_limit_without_a_nonlinearity_by_hand():
    """Hron et al. 2020, with Theta = K after one linear layer: c (5 K) + 2 K sum K^2 = 7 c K."""
    x = torch.randn(2, T, C, dtype=torch.float64)
    attention = n.SelfAttention(8, scores="identity", scale="1/sqrt(d)", w_std=1.1, value_std=0.9, key_std=0.7, b_std=0.2)
    k = tt.nngp(n.Linear(C, 8, w_std=1.3), x)
    expected = (1.1 * 0.9 * 0.49) ** 2 * k * k.square().sum((2, 3), keepdim=True)
    mine = tt.kernels(Sequential(n.Linear(C, 8, w_std=1.3), attention), x)
    torch.testing.assert_close(mine.nngp, expected + 0.04)
    torch.testing.assert_close(mine.ntk, 7 * expected + 0.04)


def test_shorter_inputs_are_padded_inputs_with_a_mask():
    net = Sequential(n.SelfAttention(C, key_std=1.3), n.ReLU(), n.GlobalAvgPool())

    class Tokens(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.linear = n.SelfAttention(C), n.Linear(C, 8)

        def forward(self, x, padding=None):
            return self.linear(self.attention(x, key_padding_mask=padding))

    net, x = Tokens(), torch.randn(2, T + 2, C, dtype=torch.float64)
    padding = torch.tensor([False] * T + [True] * 2).expand(2, -1)
    masked = tt.kernels(net, (x, padding))
    for a, b in zip(masked, tt.kernels(net, x[:, :T]), strict=True):
        torch.testing.assert_close(a[:, :, :T, :T], b)


def test_causal_is_an_attention_mask():
    x, future = torch.randn(2, T, C), torch.ones(T, T, dtype=torch.bool).triu(1)

    class Given(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = n.SelfAttention(C)

        def forward(self, x):
            return self.attention(x, attn_mask=future)

    causal, given = n.SelfAttention(C, causal=True), Given()
    given.attention.load_state_dict(causal.state_dict())
    torch.testing.assert_close(given(x), causal(x))
    torch.testing.assert_close(tt.ntk(given, x), tt.ntk(causal, x))
    assert torch.equal(causal(x)[:, :2], causal(x[:, :2]))


def test_weights_of_queries_without_keys_are_zero():
    allowed = torch.tensor([[True, False], [False, False]])
    for scores in ("softmax", "relu", "abs", "identity"):
        weights = attention_weights(torch.full((2, 2), 100.0), scores, allowed)
        assert weights[1].eq(0).all()
        assert weights[0, 1] == 0
    assert weights.isfinite().all()


REFUSED = {
    "root-softmax": (lambda: n.SelfAttention(C, scale="1/sqrt(d)"), r"SelfAttention.*1/sqrt\(d\).*no closed form"),
    "root-tied": (lambda: n.SelfAttention(C, scale="1/sqrt(d)", scores="identity", tied=True), "tied=True.*no closed form"),
    "untied": (lambda: n.SelfAttention(C, tied=False), "untied.*expected tied=True"),
    "dropout": (lambda: n.SelfAttention(C, dropout=0.1), "dropout=0.1 of attention weights"),
    "images": (lambda: Sequential(n.Conv1d(T, C, 1), n.SelfAttention(C)), r"1 \(SelfAttention\): expected \(N, positions, channels\)"),
    "by-hand": (lambda: ByHand(), r"ByHand.*matmul.*SelfAttention"),
    "plain": (lambda: Plain(torch.nn.MultiheadAttention(C, 2, batch_first=True)), r"inner \(MultiheadAttention\).*tt.nn.SelfAttention"),
    "plain-encoder": (
        lambda: Plain(torch.nn.TransformerEncoderLayer(C, 2, 8, batch_first=True), True), r"inner.self_attn \(MultiheadAttention\).*tt.nn.TransformerEncoderLayer"),
    "dot-product": (lambda: DotProduct(), "scaled_dot_product_attention.*tt.nn.SelfAttention"),
}  # fmt: skip


class Plain(torch.nn.Module):
    def __init__(self, inner, alone=False):
        super().__init__()
        self.inner, self.alone = inner, alone

    def forward(self, x):
        return self.inner(x) if self.alone else self.inner(x, x, x)[0]


class ByHand(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k = n.Linear(C, C), n.Linear(C, C)

    def forward(self, x):
        return (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)


class DotProduct(ByHand):
    def forward(self, x):
        q = self.q(x)
        return torch.nn.functional.scaled_dot_product_attention(q, self.k(x), q)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    build, pattern = REFUSED[name]
    x = torch.randn(2, T, C)
    with pytest.raises(NotImplementedError, match=f"(?s){pattern}"):
        tt.ntk(build(), x)


BAD = {
    "scores": (lambda: n.SelfAttention(C, scores="max"), "expected scores in"),
    "heads": (lambda: n.SelfAttention(C, 3), "multiple of num_heads=3"),
    "mode": (lambda: n.PositionalEmbedding((T, C), mode="mul"), "expected mode in"),
    "decay": (lambda: n.PositionalEmbedding((T, C), decay=lambda d: d), "positive semi-definite"),
    "std": (lambda: n.PositionalEmbedding((T, C), -1.0), "PositionalEmbedding: expected a finite std >= 0"),
    "key-std": (lambda: n.SelfAttention(C, key_std=-1.0), "SelfAttention: expected a finite key_std >= 0"),
    "length": (lambda: tt.ntk(n.PositionalEmbedding((T + 1, C)), torch.randn(2, T, C)), r"PositionalEmbedding: expected an input of shape"),
    "width": (lambda: tt.ntk(n.SelfAttention(C + 1), torch.randn(2, T, C)), r"SelfAttention: expected \(N, T, 5\)"),
    "mask": (lambda: tt.ntk(Masked(), (torch.randn(2, T, C), torch.zeros(2, T + 1, dtype=torch.bool))), r"attention \(SelfAttention\).*key_padding_mask of shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named(name):
    build, pattern = BAD[name]
    with pytest.raises(ValueError, match=f"(?s){pattern}"):
        build()


def test_masks_of_numbers_are_refused():
    with pytest.raises(tt.UnsupportedError, match="key_padding_mask as booleans"):
        tt.ntk(Masked(), (torch.randn(2, T, C), torch.ones(2, T)))


def test_hyperparameters_are_differentiable():
    x = torch.randn(2, T, C, dtype=torch.float64)
    stds = tuple(torch.tensor(s, dtype=torch.float64, requires_grad=True) for s in (1.2, 0.9, 1.1, 0.3))

    def kernel(w, v, k, p):
        attention = n.SelfAttention(C, 2, w_std=w, value_std=v, key_std=k)
        return tt.kernels(Sequential(n.PositionalEmbedding((T, C), p), attention, n.ReLU(), n.Linear(C, 2)), x, x + 1)

    assert torch.autograd.gradcheck(kernel, stds)


EQUAL = {
    "softmax": {"key_std": 1.3},
    "relu-causal": {"scores": "relu", "causal": True},
    "root": {"scores": "identity", "scale": "1/sqrt(d)", "key_std": 0.6},
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_and_near_inputs(name):
    """The root of a rounding error in the distance of nearly equal inputs would be an error of 1e-8 in every angle after it."""
    attention = n.SelfAttention(8, **EQUAL[name])
    tail = (n.ReLU(), n.Linear(8, 8), n.ReLU(), Flatten(), n.Linear(8 * 40, 1))
    x = torch.randn(3, 40, C, dtype=torch.float64)
    x = torch.cat([x, x, x + 1e-12 * torch.randn_like(x)])
    k = tt.kernels(Sequential(n.Linear(C, 8), n.ReLU(), n.Linear(8, 8), attention, *tail), x, tile=4)
    for part in k:
        torch.testing.assert_close(part[:3, 3:6].diagonal(), part.diagonal()[:3], rtol=1e-13, atol=0)
        torch.testing.assert_close(part[:3, 6:].diagonal(), part.diagonal()[:3], rtol=1e-11, atol=0)


class Patches(torch.nn.Module):
    """(N, C, 2, 2) -> (N, 4, C), as a vision transformer reads patches."""

    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


def test_positions_that_share_an_axis():
    """Patches of an image in one axis have an embedding (T, C), as in a vision transformer."""
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    conv, embed = tt.nn.Conv2d(2, 6, 2, stride=2), tt.nn.PositionalEmbedding
    plain = tt.kernels(torch.nn.Sequential(conv, Patches()), x)
    merged = tt.kernels(torch.nn.Sequential(conv, Patches(), embed((4, 6), 0.7)), x)
    apart = tt.kernels(torch.nn.Sequential(conv, embed((6, 2, 2), 0.7, channel_dim=1), Patches()), x)
    torch.testing.assert_close(merged, apart)
    torch.testing.assert_close(merged.nngp - plain.nngp, (0.49 * torch.eye(4).double()).expand(3, 3, 4, 4))
    places = torch.arange(4.0, dtype=torch.float64)
    decays = tt.nngp(torch.nn.Sequential(conv, Patches(), embed((4, 6), 0.7, decay=lambda d: torch.exp(-d))), x)
    expected = 0.49 * torch.exp(-(places[:, None] - places).abs())
    torch.testing.assert_close(decays - plain.nngp, expected.expand(3, 3, 4, 4))
