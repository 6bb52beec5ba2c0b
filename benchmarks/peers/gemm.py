"""The matrix product x1 x2^T alone: what a kernel of vectors cannot be faster than."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..cases import Case
from . import torch_eager

ENVIRONMENT = None
OUTPUTS = ()
versions = torch_eager.versions


def can(case: Case) -> bool:
    """Inputs that are vectors."""
    return len(case.shape) == 1


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray, outputs: Sequence[str]) -> Callable[[], tuple]:
    """One torch.mm."""
    import torch

    t1, t2 = torch.from_numpy(x1), torch.from_numpy(x2)
    return lambda: (torch.mm(t1, t2.T),)
