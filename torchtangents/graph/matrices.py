"""Products of recorded values with a constant matrix, which acts on an axis of positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..covariance.refusal import placed, refuse
from .symbol import Symbol


def _matmul(recorder: Any, input: Any, other: Any) -> Symbol:
    """A @ x acts on the last axis but one of x, x @ A on the last."""
    left = isinstance(other, Symbol)
    if left and isinstance(input, Symbol):
        refuse(
            "matmul of two recorded values has no infinite-width rule; expected a constant matrix over positions, or for "
            "attention (q @ k^T) tt.nn.SelfAttention"
        )
    value, constant = (other, input) if left else (input, other)
    state, matrix = value.current(), _constant(constant, value)
    vector = matrix.ndim == 1
    matrix = matrix[None] if vector else (matrix if left else matrix.T)  # (positions out, positions in)
    dim = value.ndim - 2 if left else value.ndim - 1
    if left and vector and value.ndim == 2:
        dim = 0
    if dim == 0:
        refuse("a matrix on the left mixes the inputs of the batch; expected it on an axis of positions")
    if -1 in state.layout[dim - 1]:
        refuse(
            f"multiplies the channels (axis {dim} of {tuple(value.shape)}) by a constant matrix, which has no law at infinite "
            "width. Expected a tt.nn.Linear on channels, or a matrix over positions"
        )
    if matrix.shape[1] != value.shape[dim]:
        raise ValueError(placed(f"expected a matrix over {value.shape[dim]} positions, got shape {tuple(constant.shape)}"))
    axis = state.spatial(dim - 1)
    state = state.matrix(axis, matrix.detach().to("cpu", torch.float64).numpy())
    return recorder.symbol(state.select(dim - 1, 0) if vector else state, value)


def _constant(matrix: Tensor, like: Symbol) -> Tensor:
    if matrix.requires_grad:
        refuse(
            "multiplies by a matrix that requires a gradient: mixing positions by trained weights has no rule. Expected a "
            "constant matrix (a buffer, or matrix.detach())"
        )
    while matrix.ndim > 2 and matrix.shape[0] == 1 and matrix.ndim <= like.ndim:
        matrix = matrix[0]
    if matrix.ndim not in (1, 2) or matrix.is_sparse or matrix.is_complex():
        refuse(
            f"multiplies by a tensor of shape {tuple(matrix.shape)}; expected one dense real matrix for all inputs, "
            "(positions out, positions in)"
        )
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(placed("expected finite numbers in the matrix over positions"))
    return matrix


def _reversed(recorder: Any, input: Any, other: Any) -> Symbol:
    return _matmul(recorder, other, input)


_T = torch.Tensor
MATRICES = {
    **dict.fromkeys((torch.matmul, _T.matmul, _T.__matmul__), _matmul),
    _T.__rmatmul__: _reversed,
}
