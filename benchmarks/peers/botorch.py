"""BoTorch's InfiniteWidthBNNKernel: the NNGP kernel of fully connected ReLU networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .. import gpytorch
from ..architectures import B_STD, W_STD, kinds
from ..cases import Case

ENVIRONMENT = "botorch"
OUTPUTS = ("nngp",)


def can(case: Case) -> bool:
    """Fully connected networks."""
    return kinds(case.net) == {"dense", "relu"} or gpytorch.asks(case.net)


def versions() -> dict[str, str]:
    """botorch, torch and its threads."""
    import botorch
    import torch

    return {"botorch": botorch.__version__, "torch": torch.__version__, "threads": str(torch.get_num_threads())}


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray | None, outputs: Sequence[str]) -> Callable[[], tuple]:
    """Its kernel as a plain matrix, without gradients where a case does not ask for them."""
    import torch
    from botorch.models.kernels import InfiniteWidthBNNKernel

    t1, t2 = torch.from_numpy(x1), None if x2 is None else torch.from_numpy(x2)
    asked = gpytorch.asks(net)
    depth = gpytorch.depth(net) if asked else sum(layer[0] == "relu" for layer in net)
    kernel = InfiniteWidthBNNKernel(depth).to(t1.dtype)
    kernel.weight_var, kernel.bias_var = W_STD**2, B_STD**2
    if asked:
        return gpytorch.call(kernel, net, t1)

    def compute() -> tuple:
        with torch.no_grad():
            return (kernel(t1, t2).to_dense(),)

    return compute
