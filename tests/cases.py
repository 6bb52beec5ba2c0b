"""One table of cases: every property test sweeps it whole."""

import torch
from torch.nn import Sequential

import torchtangents as tt

from . import cases_activations, cases_attention, cases_composition, cases_layers

n = tt.nn


class Residual(torch.nn.Module):
    def __init__(self, branch, shortcut=None):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut or torch.nn.Identity()

    def forward(self, x):
        return self.shortcut(x) + self.branch(x)


class Added(Residual):
    """The branch first, scaled."""

    def forward(self, x):
        return 0.7 * self.branch(x) + self.shortcut(x)


class Swish(torch.nn.Module):
    """h + relu(h): one function of one Gaussian."""

    def forward(self, x):
        return x + torch.relu(x)


class Cat(torch.nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.a, self.b = n.Conv2d(inputs, 4, 3, padding=1), n.Conv2d(inputs, 8, 1)

    def forward(self, x):
        return torch.cat([torch.relu(self.a(x)), self.b(x)], 1)


class Pools(torch.nn.Module):
    """One value, read by two pools of which one is of two positions."""

    def __init__(self):
        super().__init__()
        self.body, self.pools = Sequential(conv(3), R()), torch.nn.ModuleList([n.AvgPool2d(2), n.AvgPool2d(4)])
        self.heads = torch.nn.ModuleList([Sequential(conv(6), R(), GAP(), head(6)) for _ in self.pools])

    def forward(self, x):
        h = self.body(x)
        return sum(head(pool(h)) for pool, head in zip(self.pools, self.heads, strict=True))


def conv(i, k=3, p=1, **o):
    return n.Conv2d(i, 6, k, padding=p, w_std=1.4, **o)


def head(i, o=1):
    return n.Linear(i, o, w_std=1.2)


R, GAP, Flat = torch.nn.ReLU, n.GlobalAvgPool, torch.nn.Flatten
AWKWARD = {  # 3 x 7 x 5 images: strides that do not divide, overlapping pools, circular with stride, uneven padding
    "stride-2": lambda: Sequential(conv(3, stride=2), R(), conv(6), R(), Flat(), head(6 * 12)),
    "stride-3": lambda: Sequential(conv(3, stride=3, p=2), R(), GAP(), head(6)),
    "stride-2-1": lambda: Sequential(conv(3, stride=(2, 1)), R(), conv(6, stride=(1, 2)), R(), GAP(), head(6)),
    "overlap-3-2": lambda: Sequential(conv(3), R(), n.AvgPool2d(3, 2), R_after(6), Flat(), head(6 * 6)),
    "overlap-3-1": lambda: Sequential(conv(3), R(), n.AvgPool2d(3, 1), conv(6), R(), Flat(), head(6 * 15)),
    "pool-pad": lambda: Sequential(conv(3), R(), n.AvgPool2d(3, 2, padding=1), R_after(6), GAP(), head(6)),
    "pool-pad-exclude": lambda: Sequential(conv(3), R(), n.AvgPool2d(3, 2, 1, count_include_pad=False), R_after(6), GAP(), head(6)),
    "pool-ceil": lambda: Sequential(conv(3), R(), n.AvgPool2d(2, 2, ceil_mode=True), R_after(6), GAP(), head(6)),
    "sum-pool": lambda: Sequential(conv(3), R(), n.SumPool2d(2, 1), R_after(6), GAP(), head(6)),
    "circular-stride": lambda: Sequential(conv(3, padding_mode="circular", stride=2), R(), conv(6, padding_mode="circular"), R(), GAP(), head(6)),
    "circular-pool": lambda: Sequential(n.CircularPad2d((1, 0, 2, 1)), conv(3), R(), n.AvgPool2d(2, 2), R_after(6), GAP(), head(6)),
    "cut-and-pad": lambda: Sequential(conv(3), R(), n.ZeroPad2d((-1, -2, 0, -3)), conv(6), R(), GAP(), head(6)),
    "dilated": lambda: Sequential(conv(3, dilation=2, p=1), R(), conv(6, dilation=(1, 2), p=2), R(), GAP(), head(6)),
    "same-even": lambda: Sequential(conv(3, k=(2, 4), p="same"), R(), conv(6, k=2, p="same"), R(), GAP(), head(6)),
    "valid-5x3": lambda: Sequential(conv(3, k=(5, 3), p="valid"), R(), GAP(), head(6)),
    "pad-uneven": lambda: Sequential(conv(3), R(), n.ZeroPad2d((0, 2, 1, 3)), conv(6, p=0, stride=2), R(), GAP(), head(6)),
    "crop": lambda: Sequential(conv(3), n.ZeroPad2d((-1, 0, 0, -2)), R(), n.AvgPool2d(2), Flat(), head(6 * 4)),
    "adaptive-3": lambda: Sequential(conv(3), R(), n.AdaptiveAvgPool2d((3, 2)), R_after(6), Flat(), head(36)),
    "two-pools": lambda: Sequential(conv(3), R(), n.AvgPool2d(2), conv(6), R(), n.AvgPool2d((3, 2), 1), Flat(), head(6)),
    "pool-before-relu": lambda: Sequential(conv(3), n.AvgPool2d(2, 1), R(), n.AvgPool2d(2, 1), R_after(6), GAP(), head(6)),
}  # fmt: skip


def R_after(i):
    return Sequential(conv(i), R())


def block(stride=1):
    return Sequential(R(), conv(6, stride=stride), R(), conv(6))


STRUCTURE = {
    "residual": lambda: Sequential(conv(3), Residual(block()), R(), GAP(), head(6)),
    "residual-strided": lambda: Sequential(conv(3), Residual(block(2), conv(6, stride=2)), R(), GAP(), head(6)),
    "residual-chain": lambda: Sequential(
        conv(3),
        Residual(block()),
        Residual(block()),
        Residual(block(2), conv(6, stride=2)),
        Residual(block()),
        R(),
        GAP(),
        head(6),
    ),
    "residual-flatten": lambda: Sequential(conv(3), Added(block()), Added(block()), Added(block()), R(), Flat(), head(6 * 35)),
    "residual-untied": lambda: Sequential(
        conv(3), Residual(Sequential(R(), conv(6, parameterization="standard"))), Residual(block()), R(), GAP(), head(6)
    ),
    "residual-of-relu": lambda: Sequential(conv(3), R(), Residual(conv(6)), Added(conv(6)), conv(6), R(), GAP(), head(6)),
    "residual-gains": lambda: Sequential(
        conv(3), Residual(Sequential(n.LayerNorm((6, 7, 5)), R(), conv(6))), R(), Flat(), head(6 * 35)
    ),
    "h-plus-relu-h": lambda: Sequential(conv(3), Swish(), conv(6), Swish(), Flat(), head(6 * 35)),
    "two-means": lambda: Sequential(Residual(Sequential(conv(3), R()), Sequential(conv(3), R())), conv(6), R(), GAP(), head(6)),
    "pools-of-one-value": Pools,
    "input-shortcut": lambda: Sequential(Residual(n.Conv2d(3, 3, 3, padding=1)), conv(3), R(), GAP(), head(6)),
    "cat": lambda: Sequential(Cat(3), conv(12), R(), GAP(), head(6)),
    "sign-of-zeros": lambda: Sequential(
        n.Conv2d(3, 6, 1, padding=2, bias=False), R(), n.Conv2d(6, 6, 1, bias=False), n.Sign(), conv(6), GAP(), head(6)
    ),
    "layernorm-all": lambda: Sequential(conv(3), n.LayerNorm((6, 7, 5)), R(), conv(6), R(), GAP(), head(6)),
    "layernorm-after-relu": lambda: Sequential(conv(3), R(), conv(6), R(), n.LayerNorm((6, 7, 5)), conv(6), R(), GAP(), head(6)),
    "flatten-relu": lambda: Sequential(conv(3), Flat(), R(), head(210, 8), R(), head(8)),
    "dropout": lambda: Sequential(conv(3), R(), n.Dropout(0.3), conv(6), R(), n.Dropout(0.2), n.AvgPool2d(2), Flat(), head(36)),
    "positions": lambda: Sequential(conv(3), R(), n.AvgPool2d(2), conv(6)),
    "standard": lambda: Sequential(conv(3, parameterization="standard"), R(), GAP(), n.Linear(6, 1, parameterization="standard")),
}
ACTIVATIONS = {
    "relu": n.ReLU,
    "leaky-relu": lambda: n.LeakyReLU(0.2),
    "abs": n.Abs,
    "abrelu": lambda: n.ABReLU(-0.4, 1.1),
    "sign": n.Sign,
    "erf": lambda: n.Erf(1.1, 0.8, 0.2),
    "sigmoid-like": n.SigmoidLike,
    "gelu": n.GELU,
    "gelu-tanh": lambda: n.GELU("tanh"),
    "sin": lambda: n.Sin(1.1, 0.9, 0.4),
    "cos": n.Cos,
    "rbf": lambda: n.RBF(0.7),
    "tanh": n.Tanh,
    "sigmoid": n.Sigmoid,
    "silu": n.SiLU,
    "elu": n.ELU,
    "softplus": n.Softplus,
    "hardtanh": n.Hardtanh,
}
ACTIVATIONS |= cases_activations.ACTIVATIONS
DEEP = {
    f"fc-{name}": (lambda act: lambda: Sequential(n.Linear(4, 32, w_std=1.2), act(), n.Linear(32, 32), act(), head(32)))(act)
    for name, act in ACTIVATIONS.items()
}
BY_QUADRATURE = {f"fc-{name}" for name in ("gelu-tanh", "tanh", "sigmoid", "silu", "elu", "softplus", "hardtanh")}
BY_QUADRATURE |= cases_activations.BY_QUADRATURE | cases_attention.BY_QUADRATURE | cases_composition.BY_QUADRATURE
BY_REFERENCE = {"fc-hardtanh": "Hardtanh: no table is accurate"}  # why csrc does not take it
BY_REFERENCE |= dict.fromkeys(cases_activations.BY_REFERENCE | cases_layers.BY_REFERENCE, "no table is accurate|no compiled rule")
BY_REFERENCE |= dict.fromkeys(cases_attention.NO_COMPILED_RULE, "no compiled rule") | cases_composition.BY_REFERENCE
IMAGES = {**AWKWARD, **STRUCTURE}
NETS = {**IMAGES, **DEEP}


def drawn(shape, dtype, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# of cases with inputs of their own: (count, dtype, seed) -> a tensor, or a tuple of forward's arguments
INPUTS = {"pools-of-one-value": lambda count, dtype, seed: drawn((count, 3, 8, 4), dtype, seed)}
for more in (cases_activations, cases_attention, cases_composition, cases_layers):
    NETS |= more.NETS
    INPUTS |= more.INPUTS


def inputs(name, count=3, dtype=torch.float64, seed=1):
    """Inputs for a case."""
    if name in INPUTS:
        return INPUTS[name](count, dtype, seed)
    shape = (count, 4) if name in DEEP else (count, 3, 7, 5)
    return drawn(shape, dtype, seed)


def each(change, x):
    """A change of every tensor of a case's inputs, which are one or a tuple."""
    return tuple(change(t) for t in x) if isinstance(x, tuple) else change(x)


def floats(change, x):
    """The same of numbers alone, not of tokens, masks and edges."""
    return each(lambda t: change(t) if t.is_floating_point() else t, x)


def arguments(x):
    """As a recording takes them."""
    return x if isinstance(x, tuple) else (x,)
