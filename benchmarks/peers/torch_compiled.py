"""The rules of benchmarks/rules.py under torch.compile; the first call compiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import torch_eager

ENVIRONMENT, OUTPUTS, can, versions = torch_eager.ENVIRONMENT, torch_eager.OUTPUTS, torch_eager.can, torch_eager.versions


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray, outputs: Sequence[str]) -> Callable[[], tuple]:
    """As eager torch, compiled for these sizes."""
    return torch_eager.prepare(net, x1, x2, outputs, compiled=True)
