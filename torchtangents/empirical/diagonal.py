"""The exact diagonal and trace of the NTK of a finite network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..inputs import check_result
from ..surroundings import uncompiled
from .axes import Axes
from .functional import Data, Function, Inputs, Selection
from .gradients import SampleGradients


@uncompiled
def diagonal(
    model: nn.Module, x: Inputs, *, trace_axes: Iterable[int] | int = (-1,), parameters: Selection = None,
    progress: bool | None = None,
) -> Tensor:  # fmt: skip
    """The diagonal of the empirical NTK: the squared lengths of the gradients, exact, at one backward a sample and output.

    Theta(x_i, x_i)_kk = 1/C sum_c |d f_kc(x_i) / dp|^2.

    Args:
        model, x, parameters: as in `ntk_vp`.
        trace_axes: axes of the output (N, *O) that are averaged over; () keeps every output.
        progress: True shows a bar, False none, None one when it takes more than a second.

    Returns:
        (N, *K), K what is left of the output's axes: (N,) for outputs (N, C).

    Raises:
        ValueError, TypeError: as `ntk_vp`; an axis that is not there; more than one output.
        OverflowError: a result that is not finite.

    Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.empirical.diagonal(torch.nn.Linear(2, 3), torch.tensor([[3., 4.]]))
        tensor([26.])
    """
    function = Function(model, x, parameters)
    axes = Axes(function.output(), trace_axes)
    return pair_diagonal(function, None, axes, progress).reshape(function.data.size, *axes.kept)


@uncompiled
def trace(
    model: nn.Module, x: Inputs, *, trace_axes: Iterable[int] | int = (-1,), parameters: Selection = None,
    progress: bool | None = None,
) -> Tensor:  # fmt: skip
    """The trace of the empirical NTK of some inputs, exact: the sum of `diagonal`. `trace_estimate` costs less.

    Args:
        model, x, trace_axes, parameters, progress: as in `diagonal`.

    Returns:
        A number, as a tensor of shape ().

    Raises:
        ValueError, TypeError, OverflowError: as `diagonal`.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.empirical.trace(torch.nn.Linear(2, 3), torch.eye(2))
        tensor(4.)
    """
    each = diagonal(model, x, trace_axes=trace_axes, parameters=parameters, progress=progress)
    return each.double().sum().to(each.dtype)


@uncompiled
def pair_diagonal(function: Function, other: Data | None, axes: Axes, progress: bool | None = False) -> Tensor:
    """Theta(x1_i, x2_i) of each i, (N, K); `other` None is x1."""
    gradients = SampleGradients(function, copies=2 if other is None else 4)
    found = torch.empty(function.data.size, gradients.outputs, dtype=function.dtype, device=function.device)
    blocks = gradients.of_outputs(function.data, progress)
    if other is None:
        for rows, outputs, block in blocks:
            found[rows, outputs] = block.square().sum(-1).T
    else:
        for (rows, outputs, block), (_, _, second) in zip(blocks, gradients.of_outputs(other, False), strict=True):
            found[rows, outputs] = (block * second).sum(-1).T
    check_result(found, function.dtype)
    return axes.split(found.reshape(-1, *axes.shape)).mean(-1)
