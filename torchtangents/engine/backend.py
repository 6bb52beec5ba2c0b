"""Which backend computes a kernel: csrc on the CPU, Triton on CUDA, and the reference where they have no rule for a step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import cuda, native
from ..covariance.grid import Planes
from ..covariance.pointwise import Pointwise
from ..covariance.refusal import NotNative, UnsupportedError
from ..graph.leaves import hides_tensors, leaves
from ..graph.program import Program
from .operations import has_closed_form
from .sides import self_pass
from .tiles import all_pairs

_TABLE = 5000  # pairs of positions at one function
NAMES = ("auto", "reference", "cpu", "triton")


def pairs(
    first: Program, second: Program, wanted: Planes, ntk: bool, tile: int | None, progress: bool | None, backend: str
) -> tuple[Tensor, Tensor | None]:
    """(nngp, ntk) of every pair: (N1, N2, *S1, *S2)."""
    if backend != "reference":
        compiled = backend if backend != "auto" else "triton" if first.device.type == "cuda" else "cpu"
        reason = why_not(first, second, compiled) or (_too_few(first, second) if backend == "auto" else None)
        if reason is None:
            from .operator import Task

            try:
                return Task(first, second, wanted, ntk, tile, progress, compiled).run()
            except NotNative as error:
                reason = str(error)
        if backend != "auto":
            raise UnsupportedError(
                f"backend={backend!r}: {reason}. Expected backend='auto', which computes this by the reference"
            )
    kept1, _ = self_pass(first, tile=tile)
    kept2 = kept1 if second is first else self_pass(second, tile=tile)[0]
    return all_pairs(first, second, kept1, kept2, wanted, ntk, tile, progress)


def why_not(first: Program, second: Program, backend: str = "cpu") -> str | None:
    """Why compiled code cannot compute on these inputs; None if it can."""
    missing = cuda.why_not() if backend == "triton" else None if native.available() else native.why_not()
    if missing:
        return f"the compiled {'kernels are' if backend == 'triton' else 'extension is'} not in use ({missing})"
    for program in {id(p): p for p in (first, second)}.values():
        if program.device.type != ("cuda" if backend == "triton" and not cuda.interpreted() else "cpu"):
            return f"the inputs are on {program.device}"
        if torch.is_grad_enabled() and hides_tensors(program):
            return "a function holds tensors to differentiate by that are not its parameters"
    if any(native.transformed(t) for t in leaves(first, second)):
        return "a transform of torch.func or forward-mode differentiation is active"
    return None


def _too_few(first: Program, second: Program) -> str | None:
    """Why the reference is chosen although compiled code could: a table costs about as much as so many pairs by quadrature."""
    tabled = [s for s in first.steps if isinstance(s, Pointwise) and not has_closed_form(s.dual)]
    pairs = max((first.batch * second.batch * math.prod(s.size) for s in tabled), default=_TABLE)
    return "there are fewer pairs than a table has nodes" if pairs < _TABLE else None
