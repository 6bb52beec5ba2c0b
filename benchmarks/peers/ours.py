"""This library."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .. import finite
from ..cases import Case
from ..finite import is_finite

ENVIRONMENT = None
OUTPUTS = ("nngp", "ntk")


def can(case: Case) -> bool:
    """Every case is ours."""
    return True


def versions() -> dict[str, str]:
    """Versions, threads, and whether the compiled code is in use."""
    import torch

    import torchtangents as tt
    from torchtangents import native

    found = {"torchtangents": tt.__version__, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
    return found | {"native": "active" if native.available() else native.why_not()}


def prepare(
    net: Sequence, x1: np.ndarray, x2: np.ndarray | None, outputs: Sequence[str], backend: str = "auto"
) -> Callable[[], tuple]:
    """The call that a user makes."""
    import torch

    import torchtangents as tt

    t1, t2 = torch.from_numpy(x1), None if x2 is None else torch.from_numpy(x2)
    if is_finite(net):
        model = finite.build(net, x1.shape[1:]).to(t1.dtype)
        return lambda: (tt.empirical.ntk(model, t1, t2, progress=False),)
    from ..networks import build

    module = build(net, x1.shape[1:])
    if tuple(outputs) == OUTPUTS:
        return lambda: tt.kernels(module, t1, t2, backend=backend, progress=False)
    one = getattr(tt, outputs[0])
    return lambda: (one(module, t1, t2, backend=backend, progress=False),)


def diagonal(net: Sequence, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """NNGP and NTK of every input with itself: the scale in which errors are measured."""
    import torch

    import torchtangents as tt

    from ..networks import build

    t = torch.from_numpy(x)
    if is_finite(net):
        found = tt.empirical.kernels(finite.build(net, x.shape[1:]).to(t.dtype), t, progress=False)
        return tuple(k.diagonal().numpy() for k in found)
    found = tt.kernels(build(net, x.shape[1:]), t, diagonal=True, progress=False)
    return tuple(k.numpy() for k in found)
