"""Cases of composition: sums, products, concatenations and normalisation of values that are not one Gaussian."""

import torch
import torch.nn.functional as F
from torch.nn import Sequential

import torchtangents as tt

n = tt.nn


def conv(i, o=4, k=3):
    return n.Conv2d(i, o, k, padding=k // 2, w_std=1.3, b_std=0.2)


class Two(torch.nn.Module):
    """join(a(x), b(x), x) for two convolutions, or for `layers`."""

    def __init__(self, join, *layers):
        super().__init__()
        self.join, self.layers = join, torch.nn.ModuleList(layers or (conv(3), conv(3)))

    def forward(self, x):
        return self.join(*(layer(x) for layer in self.layers), x)


class Dense(torch.nn.Module):
    """DenseNet: every block reads all values before it, data too."""

    def __init__(self, raw=False):
        super().__init__()
        self.raw, first = raw, 3 if raw else 4
        self.stem, self.blocks = conv(3), torch.nn.ModuleList(conv(first + 4 * i) for i in range(3))

    def forward(self, x):
        x = x if self.raw else self.stem(x)
        for block in self.blocks:
            x = torch.cat([x, block(F.relu(x))], 1)
        return F.relu(x)


class SqueezeExcite(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.squeeze, self.excite = conv(3), n.Conv2d(4, 2, 1), n.Conv2d(2, 4, 1, w_std=2.0)

    def forward(self, x):
        x = self.stem(x).relu()
        return x * torch.erf(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))


class Excited(torch.nn.Module):
    """The same by a mean and two Linear layers, repeated over the positions."""

    def __init__(self):
        super().__init__()
        self.stem, self.squeeze, self.excite = conv(3), n.Linear(4, 2), n.Linear(2, 4, w_std=2.0)

    def forward(self, x):
        x = self.stem(x).relu()
        gate = torch.erf(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate.unsqueeze(-1).unsqueeze(-1)


class Global(torch.nn.Module):
    """A skip over two blocks into an activation of the sum."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch = conv(3), conv(4)

    def forward(self, x):
        h = self.stem(x)
        return h / 2 + F.relu(h - 2 * self.branch(F.relu(h)))


class Transformed(torch.nn.Module):
    """Pre-norm blocks of two linear layers a position, as in a transformer without its attention."""

    def __init__(self, **options):
        super().__init__()
        self.stem = conv(3)
        self.norms = torch.nn.ModuleList(n.LayerNorm(4, **options) for _ in range(2))
        self.inner, self.outer = n.Linear(4, 8, w_std=1.5), n.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.outer(F.gelu(self.inner(self.norms[0](x))))
        return self.norms[1](x).transpose(1, 2).unflatten(2, (7, 5))


def mask():
    return torch.linspace(-1, 1, 35, dtype=torch.float64).reshape(7, 5)


def cat(*values):
    return torch.cat(values, 1)


def body(first, width=4, last=True):
    """A head that sees means and positions."""
    return Sequential(
        first, *([conv(width), torch.nn.ReLU()] if last else []), n.AvgPool2d(2), torch.nn.Flatten(), n.Linear(4 * 6, 1)
    )


def dense():
    return n.Linear(4, 16, w_std=1.3, b_std=0.2)


def flat(first):
    return Sequential(first, n.Linear(16, 8), torch.nn.ReLU(), n.Linear(8, 1))


def vectors(count, dtype, seed):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def norm(**options):
    return n.LayerNorm((8, 7, 5), **options)


NETS = {
    "dense-net": lambda: body(Dense(), 16),
    "dense-net-raw": lambda: body(Dense(raw=True), 15),
    "mixture-of-means": lambda: body(Two(lambda a, b, x: cat(F.relu(a), b)), 8),
    "mixture-then-relu": lambda: body(Sequential(Two(lambda a, b, x: cat(a, 2 * b)), torch.nn.ReLU()), 8),
    "mixture-pooled-then-relu": lambda: body(Sequential(Two(lambda a, b, x: cat(a, b)), n.AvgPool2d(3, 1, 1), torch.nn.ReLU()), 8),
    "mixture-plus-mixture": lambda: body(Two(lambda a, b, c, d, x: cat(F.relu(a), b) + cat(c, F.relu(d)), conv(3, 5), conv(3, 3), conv(3, 2), conv(3, 6)), 8),
    "layernorm-of-groups": lambda: body(Sequential(Two(lambda a, b, x: cat(F.relu(a), b)), norm()), 8),
    "layernorm-of-groups-then-relu": lambda: body(Sequential(Two(lambda a, b, x: cat(a, b)), norm(), torch.nn.ReLU()), 8),
    "layernorm-channels-after-relu": lambda: body(Sequential(Two(lambda a, b, x: (F.relu(a) + b).permute(0, 2, 3, 1)), n.LayerNorm(4), Two(lambda x, _: x.permute(0, 3, 1, 2), n.Identity()))),
    "means-in-three-branches": lambda: body(Two(lambda a, b, c, x: F.relu(a) + abs(b) - F.leaky_relu(c, 0.2) / 2, conv(3), conv(3), conv(3))),
    "raw-skip-and-mean": lambda: body(Two(lambda a, x: F.relu(a) + x, conv(3, 3)), 3),
    "gated-unit": lambda: flat(Two(lambda a, b, x: a * torch.sigmoid(b), dense(), dense())),
    "product-of-means": lambda: body(Two(lambda a, b, x: F.relu(a) * F.relu(b))),
    "product-then-sum": lambda: body(Two(lambda a, b, c, x: F.relu(a) * F.relu(b) + F.relu(c), conv(3), conv(3), conv(3))),
    "product-with-data": lambda: body(Two(lambda a, x: F.relu(a) * x, conv(3, 3)), 3),
    "product-with-numbers": lambda: body(Two(lambda a, x: F.relu(a * mask().to(a.dtype)), conv(3))),
    "squeeze-excite": lambda: body(SqueezeExcite()),
    "one-minus": lambda: flat(Two(lambda a, x: 1 - 2 * torch.erf(a), dense())),
    "excited-by-means": lambda: body(Excited()),
    "stein": lambda: body(Global()),
    "stein-smooth": lambda: body(Two(lambda a, b, x: a + torch.erf(a + b)), last=False),
    "pre-norm": lambda: body(Transformed()),
    "pre-norm-fixed": lambda: body(Transformed(elementwise_affine=False)),
}  # fmt: skip
BY_QUADRATURE = {"gated-unit", "one-minus"}
BY_REFERENCE = {
    **dict.fromkeys(("gated-unit", "product-of-means", "product-then-sum", "product-with-data", "squeeze-excite"), "Product has"),
    "excited-by-means": "Expanded has no|joins values",
    "product-with-numbers": "Weighted has no",
    **dict.fromkeys(("stein", "stein-smooth"), "Correlated has no"),
    **dict.fromkeys(("layernorm-of-groups", "layernorm-of-groups-then-relu"), "groups of channels"),
}
INPUTS = dict.fromkeys(("gated-unit", "one-minus"), vectors)
