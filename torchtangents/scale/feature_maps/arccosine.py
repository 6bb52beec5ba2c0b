"""Random features of the arc-cosine kernels, that is of one hidden layer of finite width.

Cho and Saul 2009 (NeurIPS); Rahimi and Recht 2007 (NeurIPS) for random features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .chain import Kink
from .draws import normals


class ArcCosine:
    """phi' = f(W phi) / sqrt m and phi-dot = f'(W phi) / sqrt m', with normal W: in the mean E f f' and E f' f'.

    Rows of W come in pairs w, -w. Both are normal, so nothing changes in the mean; half the products are saved, and as f(u) and
    f(-u) of a ReLU are never both positive, m features in pairs have a variance of (E X^2 - 2 (E X)^2) / m, less than the
    (E X^2 - (E X)^2) / m of m independent ones (X = f(u) f(v)). Both kinds of features share W.
    """

    def __init__(self, kink: Kink, width: int, sizes: tuple[int, int], generator: torch.Generator, like: Tensor):
        self.kink, self.sizes = kink, sizes
        self.pairs = [-(-size // 2) for size in sizes]
        self.weight = normals((max(self.pairs), width), generator, like)

    def __call__(self, phi: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, width) -> features of f (N, sizes[0]) and, if any are wanted, of f' (N, sizes[1])."""
        a, b = self.kink.a, self.kink.b
        u = phi @ self.weight.mT  # (N, pairs)
        (m, n), (p, q) = self.sizes, self.pairs
        above, below = u[:, :p].clamp_min(0), u[:, :p].clamp_max(0)
        values = torch.cat([a * below + b * above, -a * above - b * below], 1)[:, :m]
        if not n:
            return values / m**0.5, None
        up = u[:, :q] >= 0
        slopes = torch.cat([torch.where(up, b, a), torch.where(up, a, b)], 1)[:, :n].to(phi)
        return values / m**0.5, slopes / n**0.5
