"""The rules of benchmarks/rules.py in eager torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..architectures import kinds
from ..cases import Case

ENVIRONMENT = None
OUTPUTS = ("nngp", "ntk")


def can(case: Case) -> bool:
    """Chains without residual blocks or strides."""
    return "residual" not in kinds(case.net) and all(layer[2] == 1 for layer in case.net if layer[0] == "conv")


def versions() -> dict[str, str]:
    """torch and its threads."""
    import torch

    return {"torch": torch.__version__, "threads": str(torch.get_num_threads())}


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray, outputs: Sequence[str], compiled: bool = False) -> Callable[[], tuple]:
    """A call of the rules, without gradients."""
    import torch

    from .. import rules

    function = torch.compile(rules.kernels, dynamic=False) if compiled else rules.kernels
    layers, t1, t2 = tuple(map(tuple, net)), torch.from_numpy(x1), torch.from_numpy(x2)

    def compute() -> tuple:
        with torch.no_grad():
            return function(layers, t1, t2)

    return compute
