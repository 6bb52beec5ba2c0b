"""Random networks with random data, each from its seed alone: what csrc and the reference are compared on."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, Sequential

import torchtangents as tt

from .cases import Residual, Swish

n = tt.nn
WORK = 100_000  # pairs of positions, of all pairs of inputs
ODD = ("copy", "near", "opposite", "longer", "zero", "flat")  # what one input may be to another


class Groups(Module):
    """Branches side by side, as groups of channels."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = torch.nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([b(x) for b in self.branches], 1)


@dataclass
class Draw:
    """A network, its data in float64 as float32 holds it too, and how to compute."""

    seed: str
    net: Module
    x1: Tensor
    x2: Tensor | None
    dtype: torch.dtype
    ntk: bool
    instructions: str
    tile: int | None
    traits: set[str]  # what the tolerance depends on: see `_Drawing.traits`

    def __str__(self) -> str:
        shapes = [tuple(x.shape) for x in (self.x1, self.x2) if x is not None]
        how = f"{self.dtype}, ntk={self.ntk}, instructions={self.instructions!r}, tile={self.tile}, {sorted(self.traits)}"
        return f"seed {self.seed!r}: inputs {shapes}, {how}\n{self.net}"


def drawn(seed: str, instructions: list[str]) -> Draw:
    """The draw of a seed."""
    return _Drawing(seed).whole(instructions)


class _Drawing:
    """Layers are tried on one input of each size; one that does not fit is drawn again."""

    def __init__(self, seed: str):
        self.seed, self.random = seed, random.Random(seed)
        r = self.random
        self.traits: set[str] = set()  # "pool" before a function, "smooth" functions, "sign", "parallel" inputs
        self.axes = r.choice((0, 1, 2, 2))
        self.channels = r.choice((1, 2, 3, 3, 4, 7, 9, 16, 17, 20))
        most = r.choice((3, 5, 9))
        sizes = [tuple(r.randint(1, most) for _ in range(self.axes)) for _ in range(2)]
        self.alike = r.random() < 0.8 or not self.axes
        self.sizes = (sizes[0], sizes[0] if self.alike else sizes[1])
        self.tried = tuple(torch.zeros(1, self.channels, *s) for s in self.sizes)
        self.functions = 0
        self.gaussian = False  # whether a function may follow
        self.random_layer = False  # whether one came before: until then layers act on the data themselves

    def whole(self, instructions: list[str]) -> Draw:
        r = self.random
        layers = self.layers(r.randint(2, 8))
        if not self.random_layer:
            layers.append(self.same(self.channels, self.channels))
        net = Sequential(*layers, *self.head())
        positions = max(torch.Size(s).numel() for s in self.sizes)
        count2 = r.choice((1, 2, 5, 16, 17, 20))
        count1 = max(1, min(r.randint(1, 20), WORK // (count2 * positions**2)))
        if self.alike and r.random() < 0.5:
            x1, x2 = self.data(min(count2, max(count1, 2)), self.sizes[0]), None
        else:
            x1, x2 = (self.data(count, size) for count, size in zip((count1, count2), self.sizes, strict=True))
            if self.alike and r.random() < 0.5:
                x2[-1] = x1[0]
        dtype = r.choice((torch.float32, torch.float64))
        tile = r.choice((None, None, 1, 3))
        return Draw(self.seed, net, x1, x2, dtype, r.random() < 0.8, r.choice(instructions), tile, self.traits)

    def data(self, count: int, size: tuple[int, ...]) -> Tensor:
        """Inputs, some of them close to one another."""
        r = self.random
        generator = torch.Generator().manual_seed(r.randrange(1 << 30))
        x = torch.randn(count, self.channels, *size, generator=generator)
        if x[0].numel() == 1:
            self.traits.add("parallel")
        for i in range(1, count):
            what = r.choice(ODD) if r.random() < 0.15 else ""
            if what in ("opposite", "longer"):
                self.traits.add("parallel")
            if what == "flat":
                x[i] = x[i].reshape(self.channels, -1)[:, :1].reshape(-1, *(1 for _ in size))
            elif what:
                near = 1 + 1e-6 * torch.randn(x[0].shape, generator=generator)
                x[i] = x[0] * {"copy": 1.0, "near": near, "opposite": -1.0, "longer": 1.7, "zero": 0.0}[what]
        return x.double()

    # Layers

    def grow(self, layer: Module) -> bool:
        """Whether a layer fits behind the others."""
        try:
            with torch.no_grad():
                tried = tuple(layer(x) for x in self.tried)
        except (RuntimeError, ValueError):
            return False
        if not all(x.numel() for x in tried) or any(max(x.shape[2:], default=1) > 12 for x in tried):
            return False
        self.tried = tried
        return True

    def layers(self, count: int) -> list[Module]:
        out: list[Module] = []
        while len(out) < count:
            layer, gaussian = self.one()
            if self.grow(layer):
                out.append(layer)
                self.gaussian = gaussian
                self.random_layer |= gaussian
        return out

    def one(self) -> tuple[Module, bool]:
        """A layer, and whether its output is Gaussian."""
        r, kind = self.random, self.random.random()
        if kind < 0.35 and self.gaussian:
            return self.function(), False
        if kind < 0.70:
            return self.linear(), True
        if kind < 0.80 and self.axes:
            self.traits.add("pool")
            return self.pool(), self.gaussian
        if kind < 0.84 and self.axes:
            return self.pad(), self.gaussian
        if not self.random_layer:
            return self.linear(), True
        if kind < 0.88:
            return n.Dropout(r.choice((0.1, 0.5))), False
        if kind < 0.92 and self.alike:
            shape = tuple(self.tried[0].shape[1:])
            return n.LayerNorm(shape, 0.01, elementwise_affine=r.random() < 0.7, bias=r.random() < 0.5), self.gaussian
        return self.block(), False

    def function(self) -> Module:
        r = self.random
        kind = r.choice((*["relu"] * 4, "leaky", "abs", "abrelu", "abrelu", "linear", "erf", "gelu", "sin", "cos", "rbf", "sign"))
        if kind in ("erf", "gelu", "sin", "cos", "rbf"):
            self.traits.add("smooth")
        elif kind == "sign":
            self.traits.add("sign")
        self.functions += 1
        a, b, c = (round(r.uniform(*ends), 2) for ends in ((-1.2, 1.2), (0.2, 1.2), (-1.0, 1.0)))
        return {
            "relu": torch.nn.ReLU,
            "leaky": lambda: n.LeakyReLU(round(r.uniform(0, 1), 2)),
            "abs": n.Abs,
            "abrelu": lambda: n.ABReLU(a, b),
            "linear": lambda: n.ABReLU(a, a),
            "erf": lambda: n.Erf(1 + a / 2, b, c),
            "gelu": n.GELU,
            "sin": lambda: n.Sin(1 + a / 2, b, c),
            "cos": lambda: n.Cos(1 + a / 2, b, c),
            "rbf": lambda: n.RBF(b),
            "sign": n.Sign,
        }[kind]()

    def stds(self) -> dict:
        r = self.random
        return {
            "w_std": r.choice((0.7, 1.0, 1.4142, 2.0)),
            "b_std": r.choice((0.0, 0.0, 0.1, 0.5)),
            "bias": r.random() < 0.9,
            "parameterization": r.choice(("ntk", "ntk", "standard")),
        }

    def linear(self) -> Module:
        """A convolution, or a Linear layer where there are no positions."""
        r, channels = self.random, self.tried[0].shape[1]
        outputs = r.randint(1, 6)
        if self.tried[0].ndim == 2:
            return n.Linear(channels, outputs, **self.stds())
        axes = range(self.axes)
        kernel = [r.choice((1, 2, 3, 3, 3, 4, 5)) for _ in axes]
        stride, dilation = [r.choice((1, 1, 1, 2, 3)) for _ in axes], [r.choice((1, 1, 1, 2)) for _ in axes]
        padding = r.choice((*[tuple(r.randint(0, 3) for _ in axes)] * 3, tuple(k // 2 for k in kernel), "same", "valid"))
        if padding == "same":
            stride = [1 for _ in axes]
        mode = r.choice(("zeros", "zeros", "circular"))
        make = n.Conv1d if self.axes == 1 else n.Conv2d
        return make(channels, outputs, tuple(kernel), tuple(stride), padding, tuple(dilation), padding_mode=mode, **self.stds())

    def pool(self) -> Module:
        r, axes = self.random, range(self.axes)
        window, stride = tuple(r.randint(1, 3) for _ in axes), r.choice((None, tuple(r.randint(1, 2) for _ in axes)))
        padding = tuple(r.randint(0, w // 2) for w in window)
        average, total = (n.AvgPool1d, n.SumPool1d) if self.axes == 1 else (n.AvgPool2d, n.SumPool2d)
        if r.random() < 0.3:
            return total(window, stride, padding)
        if self.axes == 2 and self.alike and r.random() < 0.2:
            return n.AdaptiveAvgPool2d(tuple(r.randint(1, 3) for _ in axes))
        return average(window, stride, padding, r.random() < 0.3, r.random() < 0.5)

    def pad(self) -> Module:
        r, sides = self.random, range(2 * self.axes)
        if r.random() < 0.5:
            return (n.ZeroPad1d if self.axes == 1 else n.ZeroPad2d)(tuple(r.randint(-1, 3) for _ in sides))
        return (n.CircularPad1d if self.axes == 1 else n.CircularPad2d)(tuple(r.randint(0, 3) for _ in sides))

    def block(self) -> Module:
        """Branches that are added or put side by side; of one size, so that each is a convolution of one geometry."""
        r, channels = self.random, self.tried[0].shape[1]
        kind = r.choice(("swish", "identity", "shortcut", "groups"))
        if kind == "swish" and self.gaussian:
            return Swish()
        first = [self.function()] if self.gaussian else []
        if kind == "identity":
            return Residual(Sequential(*first, self.same(channels, channels), self.function(), self.same(channels, channels)))
        state, self_linear = r.getstate(), self.linear()
        r.setstate(state)
        other = self.linear()
        main = [*first, self_linear]
        if r.random() < 0.5:
            main += [self.function(), self.same(self_linear.weight.shape[0], self_linear.weight.shape[0])]
        if r.random() < 0.3:
            main += [self.function()]
        return (Groups if kind == "groups" else Residual)(Sequential(*main), other)

    def same(self, inputs: int, outputs: int) -> Module:
        """A layer that keeps the positions."""
        r = self.random
        if self.tried[0].ndim == 2:
            return n.Linear(inputs, outputs, **self.stds())
        make = n.Conv1d if self.axes == 1 else n.Conv2d
        return make(inputs, outputs, r.choice((1, 3)), padding="same", **self.stds())

    def head(self) -> list[Module]:
        r, channels = self.random, self.tried[0].shape[1]
        if not self.axes:
            return [n.Linear(channels, 1, **self.stds())] if r.random() < 0.8 else []
        kind = r.choice(("flatten", "mean", "mean", "sum", "none"))
        if kind == "none":
            return []
        if kind == "flatten":
            inputs = self.tried[0][0].numel()
            out: list[Module] = [torch.nn.Flatten(), n.Linear(inputs, 4, **self.stds())] if self.alike else []
        else:
            if not self.functions:  # sums that may cancel
                self.traits.add("pool")
            out = [n.GlobalAvgPool() if kind == "mean" else n.GlobalSumPool(), n.Linear(channels, 4, **self.stds())]
        if r.random() < 0.7 or not out:
            return out
        self.traits.add("pool")
        return [*out, self.function(), n.Linear(4, 1, **self.stds())]
