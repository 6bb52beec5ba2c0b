"""What the training data choose: the regulariser, from one eigendecomposition of the kernel, and the amplitude."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .check import require_choice, require_square, require_targets
from .gram import Gram
from .singular import cutoff

CRITERIA = ("evidence", "loo")
_PER_DECADE = 4  # of the grid that finds the basin
_LARGEST = 1e3


def best_diag_reg(k_train_train: Tensor, y_train: Tensor, criterion: str = "evidence") -> float:
    """The `diag_reg` under which the training targets are likeliest, or each of them given all the others.

    With Q = K + diag_reg tr(K)/N I and covariance a Q, over the O outputs (Rasmussen and Williams 2006, equations 5.8 and
    5.10 to 5.12):

    - "evidence": sum_o log N(y_o; 0, a Q);
    - "loo": sum_io log N(y_io; mean_io, a variance_i), mean_i = y_i - [Q^-1 y]_i / [Q^-1]_ii, variance_i = 1 / [Q^-1]_ii,

    each at the amplitude a > 0 that makes it largest, which has a closed form: tr(y^T Q^-1 y) / (N O), and the mean of
    (y - mean)^2 / variance. So the choice depends on the shape of the kernel, not on its scale, as the predictions do. They
    are `log_marginal_likelihood()` and what `leave_one_out()` gives of `Posterior(a k, y, diag_reg=)`. The kernel is
    decomposed once; a grid over the decades in which Q can be inverted finds the basin, scipy's bounded search the optimum.
    Targets that are all zero choose the largest regulariser.

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
        >>> k, y = torch.diag(torch.tensor([2., 0.])), torch.tensor([2., 1.])  # y_1^2 : y_2^2 = (2 + 1) : 1 at best, or nearest
        >>> round(best_diag_reg(k, y), 4)
        0.6667
    """
    from scipy.optimize import minimize_scalar

    require_choice("criterion", criterion, CRITERIA)
    k = require_square("k_train_train", k_train_train)
    y = require_targets(y_train, k).detach().double().reshape(len(k), -1)  # (N, O)
    k, dtype = k.detach().double(), k.dtype
    scale = k.diagonal().mean().item()
    if not scale > 0:
        Gram(k_train_train).cholesky  # noqa: B018  raises
    if not y.any():
        return _LARGEST
    values, vectors = torch.linalg.eigh(k)
    floor = 10 * cutoff(k, values[-1].item(), dtype) - 2 * min(values[0].item(), 0.0)  # that Q can be inverted
    values, projected = values / scale, vectors.mT @ y  # (N,), (N, O)

    def loss(exponent: float) -> float:
        q = values + 10.0**exponent  # (N,)
        if criterion == "evidence":
            fit = (projected.square() / q[:, None]).mean()
            return (fit.log() + q.log().mean()).item()
        precision = vectors.square() @ (1 / q)  # (N,)
        alpha = vectors @ (projected / q[:, None])  # (N, O)
        fit = (alpha.square() / precision[:, None]).mean()
        return (fit.log() - precision.log().mean()).item()

    low = math.log10(max(floor / scale, 1e-2 * math.sqrt(torch.finfo(dtype).eps)))  # rounding must not decide
    high = max(math.log10(_LARGEST), low + 1)
    grid = torch.linspace(low, high, math.ceil((high - low) * _PER_DECADE) + 1).tolist()
    losses = [loss(exponent) for exponent in grid]
    i = min(range(len(grid)), key=losses.__getitem__)
    bounds = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return 10.0 ** float(found.x if found.fun < losses[i] else grid[i])


def best_amplitude(gram: Gram, y: Tensor) -> float:
    """The a with which N(y; 0, a Q) is largest, tr(y^T Q^-1 y) / (N O) for y (N, O); 1 where y is zero."""
    return ((y * gram.solve(y)).mean()).item() or 1.0
