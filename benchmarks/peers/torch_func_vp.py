"""The other recipe of the same tutorial: NTK-vector products, a vjp then a jvp for every pair and output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import torch_func

ENVIRONMENT, OUTPUTS, can, versions = torch_func.ENVIRONMENT, torch_func.OUTPUTS, torch_func.can, torch_func.versions


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray | None, outputs: Sequence[str]) -> Callable[[], tuple]:
    """The trace over outputs, divided by their number."""
    import torch
    from torch.func import functional_call, jvp, vjp, vmap

    from ..finite import build

    t1 = torch.from_numpy(x1)
    t2 = t1 if x2 is None else torch.from_numpy(x2)
    model = build(net, x1.shape[1:]).to(t1.dtype)
    params = {k: v.detach() for k, v in model.named_parameters()}

    def pair(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        def f(x: torch.Tensor) -> Callable:
            return lambda params: functional_call(model, params, (x[None],))[0]

        output, pull = vjp(f(a), params)
        basis = torch.eye(output.numel(), dtype=output.dtype)
        blocks = vmap(lambda v: jvp(f(b), (params,), pull(v))[1])(basis)
        return blocks.trace() / len(basis)

    return lambda: (vmap(vmap(pair, (None, 0)), (0, None))(t1, t2),)
