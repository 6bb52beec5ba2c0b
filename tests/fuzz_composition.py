"""Random networks with more ways to compose than tests/fuzz.py has: what planes and whole covariances are compared on."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import Module, Sequential

import torchtangents as tt

from .fuzz import Groups, _Drawing

n = tt.nn


class Times(Module):
    """The product of two branches; axes of length 1 are repeated."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x):
        return self.first(x) * self.second(x)


class Skip(Module):
    """c x + f(x + branch(x)): the two are correlated."""

    def __init__(self, c, function, branch):
        super().__init__()
        self.c, self.function, self.branch = c, function, branch

    def forward(self, x):
        return self.c * x + self.function(x + self.branch(x))


class Faded(Module):
    """Known factors, one a position."""

    def forward(self, x):
        return x if x.ndim < 3 else x * torch.linspace(-0.5, 1, x.shape[-1], dtype=x.dtype)


class Lined(Module):
    """1 - 2 f(x) of a smooth f."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return 1 - 2 * self.function(x)


class Normed(Module):
    """LayerNorm over channels, wherever they are."""

    def __init__(self, channels, **options):
        super().__init__()
        self.norm = n.LayerNorm(channels, 0.01, **options)

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class Squeezed(Module):
    """The mean over positions, which stay as axes of length 1."""

    def forward(self, x):
        return x if x.ndim < 3 else x.mean(tuple(range(2, x.ndim)), keepdim=True)


def composed(seed: str) -> tuple[Module, Tensor, int]:
    """A network, inputs in float64 and a tile."""
    drawing = _Composing(seed)
    layers = drawing.layers(drawing.random.randint(2, 8))
    if not drawing.random_layer:
        layers.append(drawing.same(drawing.channels, drawing.channels))
    net = Sequential(*layers, *drawing.head())
    generator = torch.Generator().manual_seed(drawing.random.randrange(1 << 30))
    x = torch.randn(3, drawing.channels, *drawing.sizes[0], generator=generator, dtype=torch.float64)
    return net, x, drawing.random.randint(1, 2)


class _Composing(_Drawing):
    def __init__(self, seed: str):
        super().__init__(seed)
        r = self.random
        self.alike, self.channels = True, r.choice((2, 3, 4, 9))
        size = tuple(r.randint(2, 5) for _ in range(self.axes))
        self.sizes = (size, size)
        self.tried = (torch.zeros(1, self.channels, *size),)

    def one(self) -> tuple[Module, bool]:
        r, channels = self.random, self.tried[0].shape[1]
        if r.random() > 0.4 or not self.random_layer:
            return super().one()
        kind = r.choice(("mixture", "dense", "product", "gate", "skip", "faded", "lined", "normed", "groups normed", "excited"))
        if kind == "mixture":
            return Sequential(Groups(*self.alike_layers(2)), self.function()), False
        if kind == "dense" and self.gaussian:
            grown = self.same(channels, r.randint(1, 4))
            return Sequential(Groups(torch.nn.Identity(), Sequential(self.function(), grown)), self.function()), False
        if kind == "product":
            a, b = self.alike_layers(2)
            return Times(Sequential(a, self.function()), b if r.random() < 0.5 else Sequential(b, self.function())), False
        if kind == "gate":
            return Times(torch.nn.Identity(), Sequential(self.same(channels, channels), n.Erf())), False
        if kind == "skip" and self.gaussian:
            before = [self.function()] if r.random() < 0.5 else []
            return Skip(r.choice((1, 0.5, -2)), self.function(), Sequential(*before, self.same(channels, channels))), False
        if kind == "lined" and self.gaussian:
            return Lined(r.choice((n.Erf(), n.Sin(), n.GELU()))), False
        if kind == "normed":
            return Normed(channels, elementwise_affine=r.random() < 0.5), self.gaussian
        if kind == "groups normed":
            a, b = self.alike_layers(2)
            width = a.weight.shape[0] + b.weight.shape[0]
            return Sequential(Groups(Sequential(a, self.function()), b), Normed(width, bias=r.random() < 0.5)), False
        if kind == "excited":
            excite = Sequential(Squeezed(), self.point(channels, 3), n.ReLU(), self.point(3, channels), n.Erf())
            return Times(torch.nn.Identity(), excite), False
        return Faded(), self.gaussian

    def alike_layers(self, count: int) -> list[Module]:
        """Layers that return one number of positions and of channels."""
        out, state = [], self.random.getstate()
        for _ in range(count):
            self.random.setstate(state)
            out.append(self.linear())
        return out

    def point(self, inputs: int, outputs: int) -> Module:
        make = (n.Linear, n.Conv1d, n.Conv2d)[self.axes]
        return make(inputs, outputs, **({"kernel_size": 1} if self.axes else {}), **self.stds())


def widened(net: Module, x: Tensor, times: int) -> Module:
    """The same network with all its random layers `times` as wide."""
    out = copy.deepcopy(net)
    for module in list(out.modules()):
        for name, child in module.named_children():
            if isinstance(child, (n.Linear, n.Conv1d, n.Conv2d, n.LayerNorm)):
                setattr(module, name, _Fitted(child, times))
    out(x)
    for module in list(out.modules()):
        for name, child in module.named_children():
            if isinstance(child, _Fitted):
                setattr(module, name, child.layer)
    return out


class _Fitted(Module):
    """A layer with the inputs that it meets, and more outputs."""

    def __init__(self, layer, times):
        super().__init__()
        self.old, self.times, self.layer = layer, times, None

    def forward(self, x):
        old = self.old
        if isinstance(old, n.LayerNorm):
            shape = x.shape[x.ndim - len(old.normalized_shape) :]
            self.layer = n.LayerNorm(shape, old.eps, old.elementwise_affine, old.bias is not None)
        else:
            options = {"bias": old.bias is not None, **{k: getattr(old, k) for k in ("w_std", "b_std", "parameterization")}}
            if isinstance(old, n.Linear):
                self.layer = n.Linear(x.shape[-1], old.out_features * self.times, **options)
            else:
                options |= {k: getattr(old, k) for k in ("stride", "padding", "dilation", "padding_mode")}
                self.layer = type(old)(x.shape[1], old.out_channels * self.times, old.kernel_size, **options)
        return self.layer(x)
