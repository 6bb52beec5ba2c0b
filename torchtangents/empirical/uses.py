"""How a function's output depends on a parameter, one class a structure: its gradient from what went in and the cotangent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Known:
    """A parameter, or a multiple or the transpose of one, as it arrives at a function."""

    name: str
    parameter: Tensor
    factor: float = 1.0
    transposed: bool = False

    def value(self, parameter: Tensor) -> Tensor:
        """The same made of another tensor in the parameter's place."""
        out = parameter.t() if self.transposed else parameter
        return self.scaled(out)

    def scaled(self, g: Tensor) -> Tensor:
        """Times the factor."""
        return g if self.factor == 1.0 else g * self.factor


class Piece(NamedTuple):
    """A gradient sum_t g[r, t, o] x[t, i], in groups, without the sum: (G, O, I), or (G, I, O) where `swapped`."""

    x: Tensor  # (n, G, T, I), or (n, G, T) integers where a table is looked up
    g: Tensor  # (n, R, G, T, O)
    swapped: bool

    def dense(self, rows: int) -> Tensor:
        """The gradient itself, (n, R, numbers); `rows` of a table that is looked up."""
        n, r, groups, t, o = self.g.shape
        if self.x.ndim == 3:
            out = self.g.new_zeros(n, r, rows, o)
            return out.index_put((*_grid(n, r, self.x.device), self.x[:, 0, None, :]), self.g[:, :, 0], accumulate=True).flatten(
                2
            )
        g = self.g.permute(0, 2, 1, 4, 3).reshape(n * groups, r * o, t)
        x = self.x.reshape(n * groups, t, -1)
        out = torch.bmm(g, x).reshape(n, groups, r, o, -1)
        return out.permute(0, 2, 1, 4, 3).flatten(2) if self.swapped else out.transpose(1, 2).flatten(2)


def _grid(n: int, r: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.arange(n, device=device)[:, None, None], torch.arange(r, device=device)[None, :, None]


@dataclass(frozen=True)
class Product:
    """The weight of a linear layer, x (.., I) -> y (.., O): the gradient is the outer product of g and x over positions."""

    known: Known

    def piece(self, x: Tensor, g: Tensor) -> Piece:
        n, r = g.shape[:2]
        return Piece(
            x.reshape(n, 1, -1, x.shape[-1]), self.known.scaled(g).reshape(n, r, 1, -1, g.shape[-1]), self.known.transposed
        )


@dataclass(frozen=True)
class Window:
    """Where the windows of a convolution lie."""

    known: Known
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Convolution(Window):
    """The weight of a convolution: the outer product of g and the windows of x, in groups."""

    def piece(self, x: Tensor, g: Tensor) -> Piece:
        axes = len(self.kernel)
        x = _with_batch(x, axes, 1)  # (n, b, C, *S)
        g = _with_batch(g, axes, 2)  # (n, R, b, C, *P)
        x = windows(F.pad(x, _flat(self.padding)), self.kernel, self.stride, self.dilation)  # (n, b, P, C, K)
        return Piece(_grouped(x, self.groups, 1), _grouped(_last(self.known.scaled(g), axes), self.groups, 2), False)


@dataclass(frozen=True)
class Transposed(Window):
    """The weight of a transposed convolution: the outer product of x and the windows of g, in groups."""

    def piece(self, x: Tensor, g: Tensor) -> Piece:
        axes = len(self.kernel)
        x = _with_batch(x, axes, 1)  # (n, b, C, *S)
        g = _with_batch(g, axes, 2)
        g = F.pad(self.known.scaled(g), _flat(self.padding))
        g = windows(g, self.kernel, self.stride, self.dilation, tuple(x.shape[-axes:]))
        return Piece(_grouped(_last(x, axes), self.groups, 1), _grouped(g, self.groups, 2), True)


@dataclass(frozen=True)
class Table:
    """An embedding: rows of g added at the indices; `padding_idx` has no gradient."""

    known: Known
    padding_idx: int | None

    def piece(self, x: Tensor, g: Tensor) -> Piece:
        n, r = g.shape[:2]
        g = self.known.scaled(g).reshape(n, r, 1, -1, g.shape[-1])
        x = x.reshape(n, 1, -1)
        if self.padding_idx is not None:
            g = g * (x != self.padding_idx)[:, None, :, :, None]
        return Piece(x, g, False)


@dataclass(frozen=True)
class Spread:
    """A parameter that is broadcast: y = x * parameter (or + with no x), summed over what it was broadcast along."""

    known: Known
    shape: tuple[int, ...]  # as broadcast against y, aligned at the end
    sign: float = 1.0

    def dense(self, x: Tensor | None, g: Tensor) -> Tensor:
        """The gradient, (n, R, numbers)."""
        if x is not None:
            g = g * x.reshape(len(x), 1, *(1,) * (g.ndim - x.ndim - 1), *x.shape[1:])
        extra = g.ndim - 2 - len(self.shape)
        axes = [2 + i for i in range(extra)]
        axes += [2 + extra + i for i, s in enumerate(self.shape) if s == 1 and g.shape[2 + extra + i] != 1]
        if axes:
            g = g.sum(axes, keepdim=True)
        g = g.reshape(*g.shape[:2], *self.shape)
        if self.known.transposed:
            g = g.transpose(-1, -2)
        g = self.known.scaled(g) if self.sign == 1.0 else self.known.scaled(g) * self.sign
        return g.reshape(*g.shape[:2], -1)


Use = Product | Convolution | Transposed | Table | Spread


def windows(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    count: tuple[int, ...] | None = None,
) -> Tensor:
    """(.., C, *S) as (.., *P, C, K): at each position what a kernel sees; at most `count` positions."""
    n = len(kernel)
    first = x.ndim - n
    for i, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(first + i, d * (k - 1) + 1, s)[..., ::d]
        if count is not None:
            x = x.narrow(first + i, 0, count[i])
    lead = list(range(first - 1))
    positions, taps = range(first, first + n), range(first + n, first + 2 * n)
    return x.permute(*lead, *positions, first - 1, *taps).flatten(-n)


def _last(x: Tensor, axes: int) -> Tensor:
    """(.., C, *S) as (.., *S, C, 1)."""
    return x.movedim(-1 - axes, -1)[..., None]


def _grouped(x: Tensor, groups: int, lead: int) -> Tensor:
    """(*lead, b, *P, C, K) as (*lead, G, T, C / G * K)."""
    x = x.unflatten(-2, (groups, -1)).movedim(-3, lead)
    return x.flatten(-2).flatten(lead + 1, -2)


def _with_batch(x: Tensor, axes: int, lead: int) -> Tensor:
    return x.unsqueeze(lead) if x.ndim == lead + 1 + axes else x


def _flat(padding: tuple[tuple[int, int], ...]) -> list[int]:
    return [p for pair in reversed(padding) for p in pair]
