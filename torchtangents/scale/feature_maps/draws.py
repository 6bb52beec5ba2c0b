"""Random numbers that come anew from a seed, the same in every process and for every dtype and device."""

from __future__ import annotations

import torch
from torch import Tensor


def seeds(count: int, generator: torch.Generator | None) -> tuple[int, ...]:
    """Independent seeds."""
    device = "cpu" if generator is None else generator.device
    return tuple(torch.randint(2**63 - 1, (count,), generator=generator, device=device).tolist())


def stream(seed: int) -> torch.Generator:
    """A generator on the CPU, whose numbers do not depend on the device that computes."""
    return torch.Generator().manual_seed(seed)


def normals(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal numbers, drawn in float32, of the dtype and on the device of `like`."""
    return torch.randn(shape, generator=generator, dtype=torch.float32, device=generator.device).to(like)


def signs(count: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Random signs (count,)."""
    return (torch.randint(2, (count,), generator=generator, device=generator.device) * 2 - 1).to(like)
