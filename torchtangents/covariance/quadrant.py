"""Truncated moments of two standard normals, E (z1 - a)_+^j (z2 - b)_+^k for a, b >= 0, through Owen's T function.

With correlation c = cos(theta), s = sin(theta), n1 = (b - c a) / s and n2 = (a - c b) / s,

    P(z1 > a, z2 > b) = (Q(a) + Q(b)) / 2 - T(a, n1 / a) - T(b, n2 / b),
    T(h, r) = (1 / 2 pi) int_0^r exp(-h^2 (1 + x^2) / 2) / (1 + x^2) dx

(Owen 1956, Annals of Mathematical Statistics 27). T is a Gauss-Legendre sum for |r| <= 1, and by its reflection beyond
(Patefield and Tandy 2000, Journal of Statistical Software 5). The angle enters, never the correlation, so nearly equal
arguments are as accurate as others. Higher moments follow by integration by parts.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

_NODES = 20  # of the symmetric rule; half of them are evaluated
_TINY = 1e-60  # its square and fourth power are still numbers
_FAR = 40.0  # standard deviations beyond which nothing has weight


def upper(a: Tensor) -> Tensor:
    """Q(a) = P(z > a)."""
    return torch.special.erfc(a / math.sqrt(2)) / 2


def density(a: Tensor) -> Tensor:
    """The standard normal density."""
    return torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)


@functools.lru_cache(maxsize=1)
def _rule() -> tuple[Tensor, Tensor]:
    """Squared nodes and weights on [0, 1] for even functions."""
    z, w = np.polynomial.legendre.leggauss(_NODES)
    half = slice(_NODES // 2, None)
    with torch.inference_mode(False):
        return torch.from_numpy(z[half] ** 2), torch.from_numpy(w[half])


def owen(h: Tensor, rise: Tensor, run: Tensor) -> Tensor:
    """T(h, rise / run) for h > 0 and run > 0; `rise / run * h` must not overflow."""
    steep = rise.abs() > run
    ratio = torch.where(steep, run, rise) / torch.where(steep, rise.abs(), run)  # its sign only where it is not steep
    across = (h * (rise.abs() / run).clamp_max(1 / _TINY)).clamp_max(_FAR)
    level = torch.where(steep, across, h)
    nodes, weights = (t.to(h) for t in _rule())
    one = 1 + (ratio * ratio)[..., None] * nodes
    area = (torch.exp(-(level * level / 2)[..., None] * one) / one * weights).sum(-1) * ratio / (2 * math.pi)
    q, far = upper(h), upper(across)
    return torch.where(steep, rise.sign() * ((q + far) / 2 - q * far - area), area)


class Quadrant:
    """The moments for thresholds a, b >= 0 and an angle, float64 tensors of one shape."""

    def __init__(self, a: Tensor, b: Tensor, theta: Tensor):
        self.a, self.b = a.clamp(_TINY, _FAR), b.clamp(_TINY, _FAR)
        self.c, self.s = theta.cos(), theta.sin().clamp_min(_TINY)
        bend = 2 * torch.sin(theta / 2) ** 2  # 1 - c, without its cancellation
        rise1, rise2 = (self.b - self.a) + bend * self.a, (self.a - self.b) + bend * self.b
        # equal arguments stay equal: their derivative by each, 1 / s, would drown all others before the two cancel
        rise1, rise2 = (torch.where(self.s > _TINY, r, r.detach()) for r in (rise1, rise2))
        self.n1, self.n2 = rise1 / self.s, rise2 / self.s  # in s^k tail(n, k), minus a rise where s vanishes
        # T(a, n1 / a) by n1 s against a s
        inside = owen(self.a, rise1, self.a * self.s) + owen(self.b, rise2, self.b * self.s)
        self.probability = (upper(self.a) + upper(self.b)) / 2 - inside
        self.cache: dict[tuple[int, int], Tensor] = {}

    def moment(self, j: int, k: int) -> Tensor:
        """E (z1 - a)_+^j (z2 - b)_+^k."""
        if (j, k) not in self.cache:
            self.cache[j, k] = self._moment(j, k)
        return self.cache[j, k]

    def _moment(self, j: int, k: int) -> Tensor:
        a, b = self.a, self.b
        if j == k == 0:
            return self.probability
        if j == k == 1:  # written symmetrically
            edge = a * density(b) * upper(self.n2) + b * density(a) * upper(self.n1)
            return (a * b + self.c) * self.probability - edge + self.s * density(a) * density(self.n1)
        if j >= k:  # by parts in z1: what its own power gives, and c times what that of z2 gives
            own = (j - 1) * self.moment(j - 2, k) if j > 1 else density(a) * self.s**k * tail(self.n1, k)
            other = k * self.moment(j - 1, k - 1) if k else density(b) * self.s ** (j - 1) * tail(self.n2, j - 1)
            return own - a * self.moment(j - 1, k) + self.c * other
        own = (k - 1) * self.moment(j, k - 2) if k > 1 else density(b) * self.s**j * tail(self.n2, j)
        other = j * self.moment(j - 1, k - 1) if j else density(a) * self.s ** (k - 1) * tail(self.n1, k - 1)
        return own - b * self.moment(j, k - 1) + self.c * other


def tail(b: Tensor, k: int) -> Tensor:
    """E (z - b)_+^k."""
    before, out = density(b), upper(b)
    for i in range(1, k + 1):
        before, out = out, -b * out + (before if i == 1 else (i - 1) * before)
    return out
