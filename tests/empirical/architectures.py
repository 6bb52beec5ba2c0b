"""Small finite networks of every kind, with inputs: the table that the tests of empirical kernels sweep over."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

import torchtangents as tt


class Residual(nn.Module):
    """A ResNet block with BatchNorm in eval mode, statistics and gains not trivial."""

    def __init__(self, c, d, stride):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, d, 3, stride, 1, bias=False), nn.Conv2d(d, d, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(d), nn.BatchNorm2d(d)
        self.short = nn.Conv2d(c, d, 1, stride)
        for norm in (self.norm1, self.norm2):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.normal_(norm.weight)

    def forward(self, x):
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        out += self.short(x)
        return torch.relu_(out)


class ViT(nn.Module):
    """Patches, a class token, positions, pre-norm attention blocks."""

    def __init__(self, dim=8, heads=2):
        super().__init__()
        self.patches = nn.Conv2d(2, dim, 2, 2)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, dim)), nn.Parameter(torch.randn(1, 5, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, 12, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(dim, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.blocks(x)[:, 0])


class GPT(nn.Module):
    """A causal transformer whose token embedding is also its output layer."""

    def __init__(self, vocabulary=7, dim=8, length=4):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, dim), nn.Embedding(length, dim)
        self.norm, self.qkv, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.head(x[:, -1])


class LSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.middle = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up, self.out = nn.ConvTranspose2d(4, 3, 2, stride=2), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = F.silu(self.down(x))
        return self.out(torch.cat([x, self.up(F.silu(self.middle(x)))], 1))[:, :, ::2, 1]


class Mixer(nn.Module):
    def __init__(self, tokens=4, dim=6):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mix1, self.mix2 = nn.Linear(tokens, 5), nn.Linear(5, tokens)
        self.wide, self.narrow, self.head = nn.Linear(dim, 8), nn.Linear(8, dim), nn.Linear(dim, 2)

    def forward(self, x):
        x = x + self.mix2(F.gelu(self.mix1(self.norm1(x).transpose(1, 2)))).transpose(1, 2)
        x = x + self.narrow(F.gelu(self.wide(self.norm2(x))))
        return self.head(x.mean(1))


class Pair(nn.Module):
    """Returns a tuple of outputs of different shapes."""

    def __init__(self):
        super().__init__()
        self.body, self.one, self.two = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.tanh(self.body(x))
        return self.one(x), (self.two(x), x)


class Named(Pair):
    """Returns a mapping, as transformers' outputs are."""

    def forward(self, x):
        x = torch.tanh(self.body(x))
        return OrderedDict(logits=self.one(x), hidden={"last": self.two(x)})


class Bare(nn.Module):
    """Parameters used without a layer: products, sums, powers, an index."""

    def __init__(self):
        super().__init__()
        self.w, self.gain, self.power = (
            nn.Parameter(torch.randn(3, 4)),
            nn.Parameter(torch.randn(4)),
            nn.Parameter(torch.tensor(1.3)),
        )
        self.table, self.shift = nn.Parameter(torch.randn(4, 2)), nn.Parameter(torch.randn(1, 2))
        self.unused = nn.Parameter(torch.randn(3))

    def forward(self, x):
        h = torch.tanh(x @ self.w * self.gain) * self.power.exp()
        return h @ (self.table / 2.0) - self.shift + 2 * self.table[1] + torch.einsum("ni,ij->nj", h, self.table)


class Functional(nn.Module):
    """A layer's weight is used by the layer, by a function, transposed, scaled, and in a norm."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x):
        x = torch.tanh(self.lin(x))
        x = F.linear(x, self.lin.weight.t() * 0.5) + F.linear(input=x, weight=self.lin.weight, bias=self.lin.bias)
        return x / self.lin.weight.norm()


class Tied(nn.Module):
    """One layer applied several times."""

    def __init__(self):
        super().__init__()
        self.start, self.again, self.conv = nn.Linear(3, 6), nn.Linear(6, 6), nn.Conv1d(2, 2, 3, padding=1)

    def forward(self, x):
        x = self.start(x)
        for _ in range(3):
            x = torch.tanh(self.again(x))
        x = x.unflatten(1, (2, 3))
        return self.conv(torch.tanh(self.conv(x))).flatten(1)


class Attention(nn.Module):
    """torch's attention, time first, with keys from elsewhere."""

    def __init__(self):
        super().__init__()
        self.own, self.cross = nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2, kdim=3, vdim=3, batch_first=True)
        self.same = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x, memory):
        x = x + self.own(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1), need_weights=False)[0].transpose(0, 1)
        x = x + self.cross(x, memory, memory)[0]
        return self.same(x, x.flip(1), x.flip(1))[0].mean(1)


class Norms(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.group, self.layer, self.rms = nn.GroupNorm(2, 4), nn.LayerNorm((3, 3)), nn.RMSNorm(3)
        self.instance = nn.InstanceNorm2d(4, affine=True)
        for p in self.parameters():
            nn.init.normal_(p)

    def forward(self, x):
        return self.rms(self.layer(self.instance(F.gelu(self.group(self.conv(x))))))[:, :, 0, 0]


class Keywords(nn.Module):
    """Keyword inputs, one of them not a tensor, and a registered buffer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(2, 4)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 0.5, 3.0]))

    def forward(self, *, left, right, power=1):
        return torch.sin(self.one(left) * self.scale) ** power * torch.sigmoid(self.two(right))


class Sequence(nn.Module):
    """An output with positions: three axes."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(2, 4, 2, padding="same", dilation=2), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).transpose(1, 2))


def randn(*shape):
    return lambda n: torch.randn(n, *shape)


def _ours(parameterization):
    p = {"parameterization": parameterization}
    return nn.Sequential(
        tt.nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", w_std=1.3, b_std=0.3, **p), tt.nn.ReLU(), tt.nn.AvgPool2d(2), nn.Flatten(1, -2),
        tt.nn.Linear(3, 5, w_std=torch.tensor(1.4), **p), tt.nn.Erf(), tt.nn.LocalConv1d(4, 2, 2, input_size=5, **p), nn.Flatten(), tt.nn.Linear(8, 3, **p),
    )  # fmt: skip


# name: (a module, N -> inputs)
ARCHITECTURES = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)), randn(3)),
    "cnn": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(5, 3)), randn(2, 4, 4)),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(4, 6, (3, 2), groups=2, dilation=(1, 2), padding=(0, 1)), nn.GELU(), nn.Conv2d(6, 6, 3, groups=6, padding="same", padding_mode="reflect"), nn.SiLU(), nn.Conv2d(6, 2, 2, stride=2), nn.Flatten()), randn(4, 4, 4)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(2, 3, 2, padding="same"), nn.Tanh(), nn.ConvTranspose3d(3, 2, 2, stride=2), nn.AdaptiveAvgPool3d(1), nn.Flatten()), randn(2, 2, 3, 2)),
    "resnet": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Residual(4, 4, 1), Residual(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval(), randn(2, 4, 4)),
    "vit": (lambda: ViT(), randn(2, 4, 4)),
    "gpt-tied": (lambda: GPT(), lambda n: torch.randint(0, 7, (n, 4))),
    "lstm": (lambda: LSTM(), randn(4, 3)),
    "unet": (lambda: UNet(), randn(2, 4, 4)),
    "mixer": (lambda: Mixer(), randn(4, 6)),
    "tuple": (lambda: Pair(), randn(3)),
    "dict": (lambda: Named(), randn(3)),
    "bare": (lambda: Bare(), randn(3)),
    "functional": (lambda: Functional(), randn(4)),
    "tied": (lambda: Tied(), randn(3)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), nn.Tanh(), nn.ConvTranspose2d(6, 2, 2, dilation=2), nn.Flatten(2), nn.ConvTranspose1d(2, 2, 3, stride=3), nn.AdaptiveAvgPool1d(1), nn.Flatten()), randn(4, 2, 3)),
    "attention": (lambda: Attention(), lambda n: (torch.randn(n, 3, 4), torch.randn(n, 2, 3))),
    "norms": (lambda: Norms(), randn(2, 5, 5)),
    "keywords": (lambda: Keywords(), lambda n: {"left": torch.randn(n, 3), "right": torch.randn(n, 2), "power": 2}),
    "sequence": (lambda: Sequence(), randn(2, 3)),
    "embedding": (lambda: nn.Sequential(nn.Embedding(5, 4, padding_idx=2), nn.Flatten(), nn.Linear(12, 2)), lambda n: torch.randint(0, 5, (n, 3))),
    "encoder": (lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True), nn.Flatten(), nn.Linear(12, 2)).eval(), randn(3, 4)),
    "ours-ntk": (lambda: _ours("ntk"), randn(2, 2, 6)),
    "ours-standard": (lambda: _ours("standard"), randn(2, 2, 6)),
    "ours-attention": (lambda: nn.Sequential(tt.nn.SelfAttention(4, 2), tt.nn.LayerNorm(4), nn.Flatten(), tt.nn.Linear(12, 2)), randn(3, 4)),
    "ours-transposed": (lambda: nn.Sequential(tt.nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, w_std=1.7), nn.Tanh(), tt.nn.ConvTranspose2d(4, 2, 2, groups=2, parameterization="standard"), tt.nn.GlobalAvgPool()), randn(2, 2, 3)),
    "ours-tokens": (lambda: nn.Sequential(tt.nn.Embedding(5, 4, w_std=1.6), nn.Tanh(), tt.nn.Conv1d(3, 2, 2, w_std=0.7), nn.Flatten(), tt.nn.Linear(6, 2)), lambda n: torch.randint(0, 5, (n, 3))),
    "weight-norm": (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.utils.parametrizations.orthogonal(nn.Linear(4, 2))), randn(3)),
    "one-output": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)), randn(3)),
}  # fmt: skip


def made(name, n=3, m=2):
    """A float64 module with random parameters, and inputs for x1 and x2."""
    make, inputs = ARCHITECTURES[name]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return make(), inputs(n), inputs(m)
    finally:
        torch.set_default_dtype(before)
