"""Pseudo-NTKs: kernels of one scalar for each sample, which approximate the NTK at one backward a sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..engine.progress import watched
from ..engine.tiles import tiles
from ..inputs import check_result
from ..surroundings import uncompiled
from .functional import Function, Inputs, Selection
from .gradients import SampleGradients

KINDS = ("sum_of_logits", "one_logit")


@uncompiled
def pseudo_ntk(
    model: nn.Module, x1: Inputs, x2: Inputs | None = None, *, kind: str = "sum_of_logits", logit: int = 0,
    parameters: Selection = None, tile: int | None = None, progress: bool | None = None,
) -> Tensor:  # fmt: skip
    """The kernel of the gradient of one scalar of the outputs: one backward a sample, where the NTK takes one for each output.

    K(x, x') = <d s(x)/dp, d s(x')/dp>, with s = 1/sqrt(O) sum_o f_o ("sum_of_logits") or s = f_logit ("one_logit").

    Over random last layers its mean is that of the NTK with its outputs traced, and it approaches the NTK as the width grows.

    Args:
        model, x1, x2, parameters: as in `ntk_vp`; an output (N, *O) counts as its O numbers.
        kind: "sum_of_logits" or "one_logit".
        logit: which output "one_logit" takes, in the order of flatten.
        tile: samples on a side of a tile; None chooses from free memory.
        progress: as in `diagonal`.

    Returns:
        (N1, N2).

    Raises:
        ValueError, TypeError: as `ntk_vp`; more than one output tensor; an unknown kind; a logit that is not there.
        OverflowError: a result that is not finite.

    Mohamadi, Bae and Sutherland 2022 (arXiv 2206.12543).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.empirical.pseudo_ntk(torch.nn.Linear(2, 4, bias=False), torch.eye(2))
        tensor([[1., 0.],
                [0., 1.]])
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected 'sum_of_logits' or 'one_logit', got {kind!r}")
    if tile is not None and (not isinstance(tile, int) or tile < 1):
        raise ValueError(f"tile: expected a positive number of samples, got {tile!r}")
    function = Function(model, x1, parameters, "x1")
    first, second = function.data, None if x2 is None else function.also(x2)
    gradients = SampleGradients(function, copies=3)
    count, like = gradients.outputs, function.output()
    if kind == "one_logit" and not (isinstance(logit, int) and -count <= logit < count):
        raise ValueError(f"logit: expected one of {count} outputs, got {logit!r}")
    scalar = torch.full((count,), 1 / math.sqrt(count), dtype=like.dtype, device=like.device)
    if kind == "one_logit":
        scalar = torch.zeros_like(scalar).index_fill_(0, torch.tensor([logit % count], device=like.device), 1)
    cotangent = scalar.reshape(1, *like.shape[1:])
    columns = first if second is None else second
    kernel = torch.empty(first.size, columns.size, dtype=function.dtype, device=function.device)
    last, left = None, torch.empty(0)
    for r, c in watched(tiles(first.size, columns.size, tile or gradients.samples, second is None), progress):
        if r != last:
            last, left = r, gradients(first.rows(r), cotangent)[0]  # (n, P)
        right = left if second is None and r == c else gradients(columns.rows(c), cotangent)[0]
        kernel[r, c] = left @ right.T
        if second is None:
            kernel[c, r] = kernel[r, c].T if r != c else torch.triu(kernel[r, c]) + torch.triu(kernel[r, c], 1).T
    check_result(kernel, function.dtype)
    return kernel
