"""Trace and largest eigenvalues of an NTK that is too large for its matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..surroundings import uncompiled
from .axes import Axes
from .functional import Function, Inputs, Selection
from .ntk_vp import NTKVectorProduct
from .operator import operator
from .running import Running, counts


class TraceEstimate(NamedTuple):
    """An estimate of a trace, with its standard error.

    Attributes:
        mean: the estimate, a tensor of shape ().
        error: its standard error, of the same shape.
        n_samples: how many vectors were drawn.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.empirical.trace_estimate(torch.nn.Linear(2, 1, bias=False), torch.eye(2), n_samples=10).n_samples
        10
    """

    mean: Tensor
    error: Tensor
    n_samples: int


class Eigenpairs(NamedTuple):
    """The largest eigenvalues of a kernel, and their vectors.

    Attributes:
        values: (k,), the largest first.
        vectors: (N K, k), one a column; N samples of K outputs.

    Example:
        >>> import torch, torchtangents as tt
        >>> values, vectors = tt.empirical.top_eigenpairs(torch.nn.Linear(3, 1), torch.randn(5, 3), k=2)
        >>> values.shape, vectors.shape
        (torch.Size([2]), torch.Size([5, 2]))
    """

    values: Tensor
    vectors: Tensor


@uncompiled
def trace_estimate(
    model: nn.Module, x: Inputs, *, n_samples: int | Iterable[int] = 100, generator: torch.Generator | None = None,
    trace_axes: Iterable[int] | int = (-1,), parameters: Selection = None, batch_size: int | None = None,
) -> TraceEstimate | Iterable[TraceEstimate]:  # fmt: skip
    """The trace of the empirical NTK from random vectors, at one backward pass over the data each, with its standard error.

    tr Theta = E |J' v|^2 / C, for v of independent signs, one for each output of each sample. The variance of one v is
    2/C^2 sum_{i != j} (J J')_ij^2: small where the diagonal dominates.

    Args:
        model, x, parameters, batch_size: as in `ntk_vp`.
        n_samples: how many vectors, at least 2; or increasing counts, for a generator that yields the estimate at each.
        generator: where the signs come from; None is torch's default generator.
        trace_axes: as in `operator`: the trace is divided by the size C of these axes.

    Raises:
        ValueError, TypeError: as `operator`; a count below 2, or counts that do not increase.

    Hutchinson 1989 (Communications in Statistics 18(3), 1059-1076).

    Example:
        >>> import torch, torchtangents as tt
        >>> estimate = tt.empirical.trace_estimate(torch.nn.Linear(2, 1, bias=False), torch.eye(2), n_samples=10)
        >>> estimate.mean, estimate.error                                  # exact, since this kernel is diagonal
        (tensor(2.), tensor(0.))
    """
    wanted = counts(n_samples)
    function = Function(model, x, parameters)
    axes = Axes(function.output(), trace_axes)
    product = NTKVectorProduct(function, None, batch_size)
    shape = (function.data.size, *axes.shape)

    def draws() -> Iterable[TraceEstimate]:
        running = Running()
        for count in wanted:
            while running.count < count:
                size = min(product.block_size, count - running.count)
                device = function.device if generator is None else generator.device
                signs = torch.stack([torch.randint(2, shape, generator=generator, device=device) for _ in range(size)]) * 2 - 1
                pulled = product.pull(signs.to(function.device, function.dtype))
                squares = [w.flatten(1).double().square().sum(1) for w in pulled.values()]
                for value in torch.stack(squares).sum(0) / axes.c:
                    running.add(value)
            mean, error = (t.to(function.dtype) for t in (running.mean, running.error()))
            yield TraceEstimate(mean, error, count)

    return draws() if isinstance(n_samples, Iterable) else next(iter(draws()))


@uncompiled
def top_eigenpairs(
    model: nn.Module, x: Inputs, k: int = 6, *, trace_axes: Iterable[int] | int = (-1,), parameters: Selection = None,
    tolerance: float = 0.0, max_iterations: int | None = None, generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Eigenpairs:  # fmt: skip
    """The largest eigenvalues and their vectors of the empirical NTK, from products with vectors: scipy's Lanczos method.

    The first bounds the learning rate, as `tt.predict.max_learning_rate` does from the matrix. Lanczos' method is in float64; the
    products are in the network's precision, which bounds what `tolerance` can be.

    Args:
        model, x, trace_axes, parameters, batch_size: as in `operator`.
        k: how many, below the number of rows.
        tolerance: relative accuracy of the eigenvalues; 0 is that of the network's precision.
        max_iterations: of restarts, as in scipy.sparse.linalg.eigsh.
        generator: where the vector to start from comes from; None is torch's default generator.

    Raises:
        ValueError, TypeError: as `operator`; k out of range.
        RuntimeError: no convergence.

    Lehoucq, Sorensen and Yang 1998 (ARPACK Users' Guide).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Linear(3, 1, bias=False)
        >>> tt.empirical.top_eigenpairs(net, torch.diag(torch.tensor([1., 3., 2.])), k=1).values
        tensor([9.])
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    theta = operator(model, x, trace_axes=trace_axes, parameters=parameters, batch_size=batch_size)
    rows, dtype, device = theta.shape[0], theta.dtype, theta.device
    if not isinstance(k, int) or not 1 <= k < rows:
        raise ValueError(
            f"k: expected a number of eigenvalues from 1 to {rows - 1}, one below the matrix's {rows} rows, got {k!r}"
        )
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance: expected a number >= 0, got {tolerance!r}")

    def product(v):
        return (theta @ torch.as_tensor(v, dtype=dtype, device=device)).double().cpu().numpy()

    matrix = LinearOperator((rows, rows), matvec=product, matmat=product, dtype="float64")  # pyright: ignore[reportCallIssue]
    start = torch.randn(rows, dtype=torch.float64, generator=generator, device="cpu" if generator is None else generator.device)
    tolerance = max(tolerance, torch.finfo(dtype).eps * (4 if dtype == torch.float64 else 1))
    try:
        values, vectors = eigsh(matrix, k, which="LA", v0=start.cpu().numpy(), tol=tolerance, maxiter=max_iterations)  # type: ignore[arg-type]
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"{len(error.eigenvalues)} of {k} eigenvalues converged; raise max_iterations or tolerance, or ask for another k"
        ) from error
    found = torch.as_tensor(values[::-1].copy(), device=device), torch.as_tensor(vectors[:, ::-1].copy(), device=device)
    return Eigenpairs(found[0].to(dtype), found[1].to(dtype))
