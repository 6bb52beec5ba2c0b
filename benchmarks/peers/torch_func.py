"""The recipe of torch's tutorial "Neural tangent kernels": per-sample Jacobians by torch.func, contracted one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..cases import Case
from ..finite import is_finite

ENVIRONMENT = None
OUTPUTS = ("ntk",)


def can(case: Case) -> bool:
    """Finite networks."""
    return is_finite(case.net)


def versions() -> dict[str, str]:
    """torch and its threads."""
    import torch

    return {"torch": torch.__version__, "threads": str(torch.get_num_threads())}


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray | None, outputs: Sequence[str]) -> Callable[[], tuple]:
    """The trace over outputs, divided by their number; as in the tutorial, which takes x1 and x2, by two Jacobians always."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    from ..finite import build

    t1 = torch.from_numpy(x1)
    t2 = t1 if x2 is None else torch.from_numpy(x2)
    model = build(net, x1.shape[1:]).to(t1.dtype)
    params = {k: v.detach() for k, v in model.named_parameters()}

    def f(params: dict, x: torch.Tensor) -> torch.Tensor:
        return functional_call(model, params, (x[None],))[0]

    def compute() -> tuple:
        first, second = (vmap(jacrev(f), (None, 0))(params, t) for t in (t1, t2))
        pairs = zip(first.values(), second.values(), strict=True)
        parts = [torch.einsum("naf,maf->nm", a.flatten(2), b.flatten(2)) / a.shape[1] for a, b in pairs]
        return (sum(parts),)

    return compute
