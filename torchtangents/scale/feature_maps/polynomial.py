"""Sketched polynomials of the correlation, for the expectations of piecewise linear functions.

Zandieh et al. 2021 (arXiv 2106.07880), "NTKSketch"; Han et al. 2022 (arXiv 2209.04121); Ahle et al. 2020 (arXiv 1909.01410)
for sketches of powers by sketches of two vectors.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

from .chain import Kink
from .count_sketch import CountSketch, TensorSketch


@functools.cache
def coefficients(degree: int, slope: bool) -> tuple[float, ...]:
    """c_0 .. c_degree >= 0 with sum_j c_j t^j close to E |u| |v|, or to E sign(u) sign(v), of correlation t.

    E |u| |v| = 2/pi (sqrt(1 - t^2) + t arcsin t),   E sign(u) sign(v) = 2/pi arcsin t.

    The Taylor series of both, whose coefficients are squares of Hermite coefficients, converge slowly at t = 1 (j^(-5/2) and
    j^(-3/2)); least squares under c >= 0 at 400 angles does better. Of degree 9: within 6e-4 and 0.06 (root mean square 3e-4
    and 0.012).

    Args:
        degree: the highest power.
        slope: the second function in place of the first.
    """
    from scipy.optimize import nnls

    angle = (np.arange(400) + 0.5) * np.pi / 400
    t = np.cos(angle)
    wanted = 2 / np.pi * (np.pi / 2 - angle if slope else np.sin(angle) + t * (np.pi / 2 - angle))
    powers = np.arange(degree + 1)
    kept = powers % 2 == (1 if slope else 0)  # the functions are odd and even
    found = np.zeros(degree + 1)
    found[kept], _ = nnls(t[:, None] ** powers[kept], wanted)
    return tuple(float(c) for c in found)


class Polynomial:
    """phi' = |phi| sum_j sqrt(c_j) T_j and phi-dot = sum_j sqrt(d_j) T_j, with T_j a sketch of the j-th power of phi / |phi|.

    T_1 = C_1 z, T_j = S_j(T_(j-1) (x) z), each S_j drawn anew, so that E <T_j, T'_k> = <z, z'>^j where j = k and 0 elsewhere: the
    sum over j needs no concatenation. E f f' = alpha^2 t + beta^2 E |u| |v| and E f' f' = alpha^2 + beta^2 E sign(u) sign(v) for
    f(x) = alpha x + beta |x|, alpha = (a + b) / 2, beta = (b - a) / 2.
    """

    def __init__(
        self, kink: Kink, width: int, sizes: tuple[int, int], size: int, degree: int, generator: torch.Generator, like: Tensor
    ):
        alpha, beta = (kink.a + kink.b) / 2, (kink.b - kink.a) / 2
        values, slopes = ([beta**2 * c for c in coefficients(degree, slope)] for slope in (False, True))
        values[1] += alpha**2
        slopes[0] += alpha**2
        self.roots = [[math.sqrt(c) for c in cs] for cs in (values, slopes if sizes[1] else ())]
        self.sizes, self.size = sizes, size
        self.first = CountSketch(width, size, generator, like)
        self.sketches = [TensorSketch((size, width), size, generator, like) for _ in range(2, degree + 1)]
        self.last = CountSketch(size, sizes[0], generator, like) if sizes[0] < size else None

    def __call__(self, phi: Tensor) -> tuple[Tensor, Tensor | None]:
        """(N, width) -> features of f (N, sizes[0]) and, if any are wanted, of f' (N, sizes[1])."""
        largest = phi.detach().abs().amax(1, keepdim=True)
        unit = phi / torch.where(largest > 0, largest, 1)  # no square of it over- or underflows
        norm = torch.where(largest > 0, unit, 1).norm(dim=1, keepdim=True)
        z, length = unit / norm, norm * largest
        power, sums = self.first(z), []
        one = torch.zeros(self.size).to(phi)
        one[0] = 1.0
        for roots in self.roots:
            sums.append(roots[0] * one + roots[1] * power if roots else None)
        for j, sketch in enumerate(self.sketches, 2):
            power = sketch(power, z)
            for i, roots in enumerate(self.roots):
                if roots and roots[j]:
                    sums[i] = sums[i] + roots[j] * power
        values = length * sums[0]
        return values if self.last is None else self.last(values), sums[1]
