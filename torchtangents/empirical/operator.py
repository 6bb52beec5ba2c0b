"""The NTK of a finite network as a linear operator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..surroundings import uncompiled
from .axes import Axes
from .functional import Function, Inputs, Selection
from .ntk_vp import NTKVectorProduct

if TYPE_CHECKING:
    from .ntk_operator import NTKOperator


@uncompiled
def operator(
    model: nn.Module, x1: Inputs, x2: Inputs | None = None, *, trace_axes: Iterable[int] | int = (-1,),
    parameters: Selection = None, batch_size: int | None = None,
) -> NTKOperator:  # fmt: skip
    """The empirical NTK as a `linear_operator.LinearOperator`, from products with vectors only: no matrix is formed.

    Rows and columns are samples and kept outputs, (n, k) at n K + k; the entry is 1/C sum_c J_kc(x1_n) J_k'c(x2_n')'. Products,
    transpose, `add_jitter`, `add_diagonal`, `solve` (conjugate gradients) and all else that linear_operator and GPyTorch do
    work. A product of a traced kernel costs C of the products of `ntk_vp`.

    Args:
        model, x1, x2, parameters, batch_size: as in `ntk_vp`.
        trace_axes: axes of the output (N, *O) that are averaged over; () keeps every output.

    Returns:
        An operator (N1 K, N2 K), constant in the parameters; `to_dense()` is the matrix.

    Raises:
        ValueError, TypeError, NotImplementedError: as `ntk_vp`; an axis that is not there; more than one output.

    Novak et al. 2022 (arXiv 2206.08720).

    Example:
        >>> import torch, torchtangents as tt
        >>> net, x, y = torch.nn.Linear(2, 1), torch.randn(5, 2), torch.randn(5)
        >>> k = tt.empirical.operator(net, x)
        >>> k.shape, k.add_jitter(1e-3).solve(y[:, None]).shape
        (torch.Size([5, 5]), torch.Size([5, 1]))
    """
    function = Function(model, x1, parameters, "x1")
    axes = Axes(function.output(), trace_axes)
    from .ntk_operator import NTKOperator

    product = NTKVectorProduct(function, x2, batch_size)
    return NTKOperator(torch.empty(0, dtype=function.dtype, device=function.device), product=product, axes=axes)
