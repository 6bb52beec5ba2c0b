"""The regulariser that the training data choose, from one eigendecomposition of the kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import require_choice, require_square, require_targets
from .singular import singular_error

CRITERIA = ("evidence", "loo")
_PER_DECADE = 4  # of the grid that finds the basin
_LARGEST = 1e3


def best_diag_reg(k_train_train: Tensor, y_train: Tensor, criterion: str = "evidence") -> float:
    """The `diag_reg` under which the training targets are likeliest, or each of them given all the others.

    With Q = K + diag_reg tr(K)/N I, over the O outputs (Rasmussen and Williams 2006, equations 5.8 and 5.10 to 5.12):

    - "evidence": sum_o log N(y_o; 0, Q) = -1/2 tr(y^T Q^-1 y) - O/2 log det Q - N O/2 log 2 pi;
    - "loo": sum_io log N(y_io; mean_io, variance_i), mean_i = y_i - [Q^-1 y]_i / [Q^-1]_ii, variance_i = 1 / [Q^-1]_ii.

    They are `Posterior(k, y, diag_reg=).log_marginal_likelihood()` and what its `leave_one_out()` gives. The kernel is
    decomposed once; a grid over the decades in which Q can be inverted finds the basin, scipy's bounded search the optimum.

    Args:
        k_train_train: (N, N) kernel of the training points.
        y_train: (N,) or (N, O) targets.
        criterion: "evidence" or "loo".

    Raises:
        SingularKernelError: the kernel is zero.
        TypeError, ValueError: an unknown criterion; as `Posterior`.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.predict.regularizer import best_diag_reg
        >>> y = torch.tensor([1., -1., 1., -1.])  # independent, of variance 1: no more noise than K = I / 4 lacks
        >>> round(best_diag_reg(torch.eye(4) / 4, y), 4)
        3.0
    """
    from scipy.optimize import minimize_scalar

    require_choice("criterion", criterion, CRITERIA)
    k = require_square("k_train_train", k_train_train)
    y = require_targets(y_train, k).detach().double().reshape(len(k), -1)  # (N, O)
    scale = k.detach().diagonal().double().mean().item()
    if not scale > 0:
        raise singular_error(k.detach().double(), 0.0, k.dtype)
    values, vectors = torch.linalg.eigh(k.detach().double())
    values, projected = values / scale, vectors.mT @ y  # (N,), (N, O)
    least = max(math.sqrt(torch.finfo(k.dtype).eps) * 1e-2, -2 * values[0].item())  # rounding must not decide the choice

    def loss(exponent: float) -> float:
        q = (values + 10.0**exponent).clamp(min=torch.finfo(torch.float64).tiny) * scale  # (N,)
        if criterion == "evidence":
            fit = (projected.square() / q[:, None]).sum()
            return (fit + y.shape[1] * q.log().sum()).item()
        precision = vectors.square() @ (1 / q)  # (N,)
        alpha = vectors @ (projected / q[:, None])  # (N, O)
        return (alpha.square() / precision[:, None] - precision.log()[:, None]).sum().item()

    low, high = math.log10(least), math.log10(_LARGEST)
    grid = torch.linspace(low, high, max(2, math.ceil((high - low) * _PER_DECADE))).tolist()
    losses = [loss(exponent) for exponent in grid]
    i = min(range(len(grid)), key=losses.__getitem__)
    bounds = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return 10.0 ** (found.x if found.fun < losses[i] else grid[i])
