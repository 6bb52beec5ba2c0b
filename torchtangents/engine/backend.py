"""Which backend computes a kernel: csrc where it has a rule for every step, the reference otherwise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .. import native
from ..covariance.grid import Planes
from ..covariance.refusal import UnsupportedError
from ..graph.leaves import hides_tensors, leaves
from ..graph.program import Program
from .operations import NotNative
from .sides import self_pass
from .tiles import all_pairs

NAMES = ("auto", "reference", "cpu")


def pairs(
    first: Program, second: Program, wanted: Planes, ntk: bool, tile: int | None, progress: bool | None, backend: str
) -> tuple[Tensor, Tensor | None]:
    """(nngp, ntk) of every pair: (N1, N2, *S1, *S2)."""
    if backend != "reference":
        reason = why_not(first, second)
        if reason is None:
            from .operator import Task

            try:
                return Task(first, second, wanted, ntk, tile, progress).run()
            except NotNative as error:
                reason = str(error)
        if backend == "cpu":
            raise UnsupportedError(f"backend='cpu': {reason}. Expected backend='auto', which computes this by the reference")
    kept1, _ = self_pass(first, tile=tile)
    kept2 = kept1 if second is first else self_pass(second, tile=tile)[0]
    return all_pairs(first, second, kept1, kept2, wanted, ntk, tile, progress)


def why_not(first: Program, second: Program) -> str | None:
    """Why csrc cannot compute on these inputs; None if it can."""
    if not native.available():
        return f"the compiled extension is not in use ({native.why_not()})"
    for program in {id(p): p for p in (first, second)}.values():
        if program.device.type != "cpu":
            return f"the inputs are on {program.device}"
        if torch.is_grad_enabled() and hides_tensors(program):
            return "a function holds tensors to differentiate by that are not its parameters"
    if any(_transformed(t) for t in leaves(first, second)):
        return "a transform of torch.func or forward-mode differentiation is active"
    return None


def _transformed(x: Tensor) -> bool:
    return torch._C._functorch.is_functorch_wrapped_tensor(x) or forward_ad.unpack_dual(x).tangent is not None
