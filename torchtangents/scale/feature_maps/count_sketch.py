"""Count sketches, and the tensor sketch of two vectors.

Charikar, Chen and Farach-Colton 2002 (ICALP); Pham and Pagh 2013 (KDD, "Fast and scalable polynomial kernels via explicit
feature maps").
"""

from __future__ import annotations

import torch
from torch import Tensor

from .draws import signs


class CountSketch:
    """y[h(j)] += s_j x_j: E <y, y'> = <x, x'> over random signs s, exactly so where no two coordinates meet.

    The hash is balanced: coordinates are shuffled and dealt round by round, so none of up to `size` of them meet.
    """

    def __init__(self, width: int, size: int, generator: torch.Generator, like: Tensor):
        rounds = max(1, -(-width // size))
        order = torch.randperm(rounds * size, generator=generator, device=generator.device)
        self.shape = (rounds, size)
        self.index = order.clamp_max(width).to(like.device)  # coordinate `width` is a zero
        self.sign = signs(width, generator, like)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, width) -> (N, size)."""
        signed = torch.nn.functional.pad(x * self.sign, (0, 1))
        return signed.index_select(1, self.index).view(-1, *self.shape).sum(1)


class TensorSketch:
    """S(x (x) y) of `size` numbers, by convolving two count sketches: E <S(x (x) y), S(x' (x) y')> = <x, x'> <y, y'>.

    S = F^-1(F(C1 x) F(C2 y)). Unbiased over the signs. With the balanced hash, and neither vector longer than `size`, a pair of
    coordinates meets another only if both differ, with probability 1 / (size - 1), so the variance is below
    (|x|^2 |x'|^2 |y|^2 |y'|^2 + <x, x'>^2 <y, y'>^2) / (size - 1).
    """

    def __init__(self, widths: tuple[int, int], size: int, generator: torch.Generator, like: Tensor):
        self.size = size
        self.first, self.second = (CountSketch(width, size, generator, like) for width in widths)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, p), (N, q) -> (N, size)."""
        product = torch.fft.rfft(self.first(x)) * torch.fft.rfft(self.second(y))
        return torch.fft.irfft(product, n=self.size)
