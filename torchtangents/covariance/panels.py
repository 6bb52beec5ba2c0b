"""Gauss-Legendre rules on panels that end at the kinks of an integrand."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

LIMIT = 8.0  # standard deviations: what lies beyond has the weight 1e-15
_POINTS = 16


@functools.lru_cache(maxsize=64)
def _legendre(divisions: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1], divided into equal parts: (divisions * points,) each."""
    z, w = np.polynomial.legendre.leggauss(_POINTS)
    z, w = (z + 1) / 2, w / 2
    nodes = (np.arange(divisions)[:, None] + z) / divisions
    with torch.inference_mode(False):  # kept for later calls, which may differentiate
        return torch.from_numpy(nodes.ravel()), torch.from_numpy(np.tile(w / divisions, divisions))


def panel_rule(edges: Tensor, divisions: int) -> tuple[Tensor, Tensor]:
    """Nodes and standard-normal weights between consecutive sorted edges: (.., E) -> (.., (E - 1) * K) twice."""
    z, w = (t.to(edges) for t in _legendre(divisions))
    width = edges.diff(dim=-1)[..., None]
    nodes = (edges[..., :-1, None] + width * z).flatten(-2)
    weights = (width * w).flatten(-2)
    return nodes, weights * torch.exp(-nodes * nodes / 2) / math.sqrt(2 * math.pi)


def rotated_panels(
    kinks: tuple[float, ...], divisions: int, x: Tensor, y: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes z1 (M, K1, 1), z2 (M, K1, K2) and weights for functions of x (cos z1 + sin z2) and y (cos z1 - sin z2).

    Inner panels end where an argument meets a kink. The inner integral, as a function of z1, bends where two of
    those lines cross, and varies on the scale sin / cos around each kink.
    """
    safe_x = torch.where(x != 0, x, 1)
    safe_y = torch.where(y != 0, y, 1)
    steep = torch.where(sin > 1e-9, sin, 1e-9)
    lines = [(c / safe_x, 1.0) for c in kinks] + [(c / safe_y, -1.0) for c in kinks]
    reach = LIMIT * sin / cos
    outer = [torch.zeros_like(x), torch.full_like(x, -LIMIT), torch.full_like(x, LIMIT)]
    for height, _ in lines:
        outer += [height / cos + k * reach for k in (-1.0, -0.25, 0.25, 1.0)]
    outer += [(a + b) / (2 * cos) for a, s in lines for b, t in lines if s > t]
    edges = torch.cat(outer, -1).clamp(-LIMIT, LIMIT).sort(-1).values
    z1, w1 = panel_rule(edges, divisions)  # (M, K1)
    inner = [torch.zeros_like(z1), torch.full_like(z1, -LIMIT), torch.full_like(z1, LIMIT)]
    inner += [(side * (height - cos * z1) / steep).clamp(-LIMIT, LIMIT) for height, side in lines]
    z2, w2 = panel_rule(torch.stack(inner, -1).sort(-1).values, divisions)  # (M, K1, K2)
    return z1[..., None], z2, w1[..., None] * w2
