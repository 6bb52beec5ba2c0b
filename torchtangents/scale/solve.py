"""(K + diag_reg tr(K)/N I)^-1 y for kernels of any size: Cholesky in memory, or conjugate gradients over stored tiles."""

from __future__ import annotations

import hashlib
import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.memory import free_bytes
from ..predict.check import require_choice, require_number, require_tensor
from ..predict.singular import SingularKernelError
from .cg import CurvatureError, Limits, State, conjugate_gradients
from .cg_checkpoint import Checkpoint
from .cholesky import solve_cholesky, state_bytes
from .products import Cluster, Here
from .solution import ConvergenceError, Solution
from .square import Square
from .survey import Survey

NAME = "k_train_train"


def solve(
    k_train_train: Any,
    y_train: Any,
    *,
    diag_reg: float | Tensor = 0.0,
    method: str = "auto",
    kind: str = "ntk",
    tolerance: float = 1e-6,
    preconditioner_rank: int = 100,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_interval: float = 60.0,
    max_iterations: int = 1000,
    tile: int | None = None,
    progress: bool | None = None,
    client: Any = None,
    memory: int | None = None,
) -> Solution:
    """Weights alpha = (K + diag_reg tr(K)/N I)^-1 y, of which k(x, x_train) alpha is the mean prediction at infinite time.

    The kernel is read by tiles and solved as it is stored, in float64. "cholesky" holds one float64 matrix, 8 N^2 bytes, and
    factors it in place. "cg" holds vectors, and as many tiles as fit into half of the memory: all right-hand sides are solved
    at once, each until its own residual |y - Q alpha| / |y| is within the tolerance, and every iteration reads the upper triangle
    once. A symmetric pass over the kernel comes first: it finds NaN, asymmetry, tr(K) and a digest. Gradients are not tracked.

    Args:
        k_train_train: (N, N) a stored kernel, or an array that slices: numpy, zarr, dask, torch.
        y_train: (N,) or (N, outputs) targets, torch or numpy, in any floating point type.
        diag_reg: relative to the mean of K's diagonal, as in `tt.predict`.
        method: "cholesky", "cg", or "auto": Cholesky if it fits into memory and neither checkpoint nor client is given.
        kind: "ntk" or "nngp", which of a stored kernel.
        tolerance: relative residual of every right-hand side, for cg.
        preconditioner_rank: rows of K of which cg makes its preconditioner; 0 for none. A row costs the reading of a row of
            chunks, unless they are in memory.
        checkpoint: a file that holds cg's state; if it exists, cg goes on from it, and its iterates are those of a run that was
            not stopped, bit for bit on the same machine.
        checkpoint_interval: seconds between two writes of it.
        max_iterations: of cg, in all.
        tile: rows of a tile; None is chunks of the store, at least 1,024 rows, or a dask array's own blocks.
        progress: a bar, or none, or one that appears when it takes long.
        client: a `distributed.Client`: products with tiles are tasks on its workers. A dask array that is persisted stays in
            their memory; a stored kernel is read by them.
        memory: bytes that may be used; None is what is free.

    Raises:
        SingularKernelError: K with diag_reg is not positive definite, or singular to its dtype's accuracy.
        ConvergenceError: cg ended before the tolerance was met, with the residuals; its `solution` is what there is.
        MemoryError: "cholesky" does not fit; nothing was allocated.
        TypeError, ValueError: sizes or dtypes that do not fit, NaN (with its tile), a matrix that is not symmetric, a kernel that
            is not complete, a checkpoint of another solve.

    Hestenes and Stiefel 1952; Gardner et al. 2018 (arXiv 1809.11165) for the preconditioner; the predictions are those of
    Lee et al. 2019 (arXiv 1902.06720), equation 14, at infinite time.

    Example:
        >>> import torch
        >>> from torchtangents.scale.solve import solve
        >>> k = torch.tensor([[2., 1.], [1., 2.]])
        >>> solution = solve(k, torch.tensor([1., -1.]), diag_reg=0.5)
        >>> solution
        Solution(2 points, 1 right-hand side, cholesky, diag_reg=0.5, largest relative residual ...)
        >>> solution.predict(k)
        tensor([ 0.5000, -0.5000])
    """
    require_choice("method", method, ("auto", "cholesky", "cg"))
    amount = require_number("diag_reg", diag_reg)
    limits = Limits(require_number("tolerance", tolerance, positive=True), _count("max_iterations", max_iterations, 1), 0.0)
    rank = _count("preconditioner_rank", preconditioner_rank, 0)
    interval = require_number("checkpoint_interval", checkpoint_interval)
    square = Square(NAME, k_train_train, kind, None if tile is None else _count("tile", tile, 1), client)
    y = _targets(y_train, len(square))  # (N, C)
    given = y_train.shape[1:]
    free = free_bytes(torch.device("cpu")) if memory is None else _count("memory", memory, 1)
    needed = state_bytes(len(square), y.shape[1], square.largest)
    if method == "auto":
        method = "cholesky" if needed <= free and checkpoint is None and client is None else "cg"
    elif method == "cholesky" and checkpoint is not None:
        raise ValueError('checkpoint: expected method="cg" or "auto" with it, got "cholesky", which cannot be taken up again.')
    length = _lengths(y)  # (C,)
    b = torch.where(length > 0, y / length, 0.0)
    engine = Here(square) if client is None else Cluster(square, client)
    failure = None
    if method == "cholesky":
        if needed > free:
            raise MemoryError(
                f'method="cholesky": expected {_gib(needed)} of memory for {len(square)} points in float64, got {_gib(free)} '
                'free; use method="cg", which reads the kernel tile by tile.'
            )
        x, found = solve_cholesky(square, b, amount, progress)
        shift, iterations = amount * found.scale, 0
        residuals = (b - engine(x) - shift * x).norm(dim=0)
    else:
        if client is None:
            square.hold(max(0, free - 8 * y.numel() * 10 - 24 * len(square) * rank) // 2)
        found = engine.survey(progress)
        shift = _shift(square, found, amount)
        identity = {NAME: found.digest, "y_train": _digest(y), "diag_reg": repr(amount), "preconditioner_rank": str(rank)}
        saved = Checkpoint(checkpoint, identity, interval)
        limits.curvature = _rounding(square, found, shift)
        x, residuals, iterations, failure = _iterate(square, engine, b, found, shift, rank, limits, saved, progress)
    alpha = x * length
    solution = Solution(alpha, residuals, iterations, method, amount, shift, kind, square.dtype, tuple(given))
    if failure is not None:
        raise ConvergenceError(_late(solution, failure, limits, square.dtype), solution)
    return solution


def _iterate(
    square: Square,
    engine: Here | Cluster,
    b: Tensor,
    found: Survey,
    shift: float,
    rank: int,
    limits: Limits,
    saved: Checkpoint,
    progress: bool | None,
) -> tuple[Tensor, Tensor, int, str | None]:
    """Iterates (N, C), true residuals (C,), iterations, and why it ended early."""
    from .preconditioner import Preconditioner

    n, c = b.shape
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("x", "r", "p"), (n, c))
    shapes |= dict.fromkeys(("product", "norm", "checked"), (c,))
    state = saved.load(shapes | {"iteration": ()})
    inverse = Preconditioner(square, found.diagonal, shift, rank)
    state = State.start(b, inverse) if state is None else state
    try:
        residuals, failure = conjugate_gradients(lambda p: engine(p) + shift * p, b, inverse, state, limits, saved.save, progress)
    except CurvatureError as error:
        raise _indefinite(error, square.dtype, found.scale, shift) from error
    return state.x, residuals, state.iteration, failure


def _shift(square: Square, found: Survey, diag_reg: float) -> float:
    """diag_reg tr(K)/N; refuses a diagonal that is not positive with it, which a positive definite matrix has."""
    shift = diag_reg * found.scale
    least, at = (found.diagonal + shift).min(dim=0)
    if not least.item() > 0:
        value = found.diagonal[at].item()
        raise SingularKernelError(
            f"{NAME} is not positive definite with diag_reg={diag_reg:g}: its diagonal is {value:.3g} at index {at.item()}; "
            "check the kernel.",
            value / found.scale if found.scale > 0 else math.nan,
            None,
        )
    return shift


def _rounding(square: Square, found: Survey, shift: float) -> float:
    """The curvature that rounding cannot tell from zero: `predict`'s cutoff, without what a factorisation adds."""
    eps = torch.finfo(square.dtype).eps
    return max(math.sqrt(len(square)) * eps * (found.scale + shift), torch.finfo(torch.float64).eps * (found.norm + shift))


def _indefinite(error: CurvatureError, dtype: torch.dtype, scale: float, shift: float) -> SingularKernelError:
    relative = (error.quotient - shift) / scale  # a bound of K's smallest eigenvalue, from above
    least = max(math.sqrt(torch.finfo(dtype).eps), -2 * relative)
    suggestion = 10.0 ** math.ceil(math.log10(least))
    return SingularKernelError(
        f"{NAME} with diag_reg={shift / scale:g} is not positive definite, or singular to the accuracy of {dtype}: its smallest "
        f"eigenvalue is {error.quotient / scale:.3g} of its mean diagonal ({scale:.3g}) or less, found at iteration "
        f"{error.iteration}; duplicate inputs, rounding or a wrong matrix are the usual causes; pass diag_reg={suggestion:g}, or "
        "more if that is refused too.",
        relative,
        suggestion,
    )


def _late(solution: Solution, failure: str, limits: Limits, dtype: torch.dtype) -> str:
    late = [f"{r:.2g} (right-hand side {i})" for i, r in enumerate(solution.residuals.tolist()) if r > limits.tolerance]
    shown = ", ".join(late[:5]) + (f" and {len(late) - 5} more" if len(late) > 5 else "")
    what = (
        f"max_iterations={limits.iterations} is used up; pass more (a checkpoint goes on where this ended), a larger "
        "preconditioner_rank"
        if failure == "iterations"
        else f"rounding ({dtype} kernel, float64 sums) allows no smaller residual; pass a larger tolerance"
    )
    return (
        f"cg: expected relative residuals of at most {limits.tolerance:g}, got {shown} after {solution.iterations} iterations "
        f"with diag_reg={solution.diag_reg:g}: {what}, or a larger diag_reg."
    )


def _targets(y: Any, points: int) -> Tensor:
    """`y` as (N, C) in float64."""
    name = "y_train"
    if isinstance(y, np.ndarray):
        if y.dtype.kind != "f" or y.dtype.itemsize > 8:
            raise TypeError(f"{name}: expected floating point numbers of at most 64 bits, got {y.dtype}; make labels one-hot.")
        y = torch.from_numpy(y.astype(np.float64))
    elif not isinstance(y, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor or a numpy array, got {type(y).__name__}; convert it.")
    if y.device.type != "cpu":
        raise ValueError(f"{name}: expected a tensor in the computer's memory, got one on {y.device}; pass y.cpu().")
    y = require_tensor(name, y).detach()
    if y.ndim not in (1, 2) or len(y) != points or y.numel() == 0:
        shapes = f"({points},) or ({points}, outputs), got {tuple(y.shape)}"
        raise ValueError(f"{name}: expected shape {shapes}; one row for each training point.")
    return y.double().reshape(points, -1)


def _lengths(y: Tensor) -> Tensor:
    """|y| of each column (C,), without overflow of the squares."""
    most = y.abs().amax(0)
    return most * torch.where(most > 0, y / most, 0.0).norm(dim=0)


def _digest(y: Tensor) -> str:
    return hashlib.blake2b(y.contiguous().numpy().tobytes(), digest_size=20).hexdigest()


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected a whole number >= {least}, got {value!r}.")
    return value


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
