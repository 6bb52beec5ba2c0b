"""The verbs of the package: `ntk`, `nngp`, `kernels`, `propagate`, `trace`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .covariance.grid import zero_planes
from .devices import named, spread
from .engine.backend import NAMES, pairs
from .engine.needs import output_planes
from .engine.sides import self_pass
from .graph.program import Program, record
from .inputs import as_arguments, check_finite, check_masks, check_pair, check_result
from .surroundings import on_host, uncompiled

Inputs = Tensor | tuple


class Kernels(NamedTuple):
    """Both kernels of one network, as `kernels` returns them.

    Attributes:
        nngp: (N1, N2), or (N1, N2, *S1, *S2) with positions.
        ntk: of the same shape.

    Example:
        >>> import torch, torchtangents as tt
        >>> nngp, ntk = tt.kernels(tt.nn.Linear(2, 1), torch.eye(2))
        >>> nngp.shape
        torch.Size([2, 2])
    """

    nngp: Tensor
    ntk: Tensor


def ntk(
    net: torch.nn.Module, x1: Inputs, x2: Inputs | None = None, *, mask1: Tensor | None = None, mask2: Tensor | None = None,
    diagonal: bool = False, tile: int | None = None, progress: bool | None = None, backend: str = "auto", devices: Any = None,
) -> Tensor:  # fmt: skip
    """The neural tangent kernel of a network of infinite width.

    Theta(x, x') = E <df(x)/dw, df(x')/dw> over the weights w, for one output.

    Args:
        net: a module made of `torchtangents.nn` layers and operations that have a rule.
        x1: inputs (N1, ..), or a tuple of forward's arguments.
        x2: inputs (N2, ..) of the same kind; None means x1, and skips what lies below the diagonal.
        mask1, mask2: booleans (N1, *positions) and (N2, *positions), True where an input has data; None for data everywhere.
            Inputs of different lengths are padded to one size, with any numbers. Their kernel is that of each input cut to its
            own data: positions without data are zeros for every convolution and pool, no keys for attention, and count for no
            mean over positions; Flatten, and positions left at the output, have zeros there. Through strides and padding the
            mask follows the data.
        diagonal: only every input of x1 with itself, (N1,).
        tile: inputs on a side of a tile; None chooses from free memory.
        progress: True shows a bar, False none, None one when it takes more than a second.
        backend: "auto" takes the CPU's compiled code where it has a rule for every step; "cpu" insists on it, "triton" on that of
            CUDA, "reference" goes without.
        devices: a device, or a list of devices ("cuda:0", "cuda:1"), each of which computes a share of the rows at the same time;
            the result is on the inputs' device. None computes there.

    Returns:
        (N1, N2); with positions left at the output (N1, N2, *S1, *S2).

    Raises:
        UnsupportedError: a layer or operation without a rule, by its dotted name.
        TypeError, ValueError: inputs of the wrong type, shape, dtype, device, or not finite.

    Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 64), torch.nn.ReLU(), tt.nn.Linear(64, 1))
        >>> tt.ntk(net, torch.randn(5, 3), torch.randn(4, 3)).shape
        torch.Size([5, 4])
    """
    out = _compute(net, x1, x2, True, diagonal, tile, progress, backend, devices, (mask1, mask2))
    return out[1]  # type: ignore[return-value]


def nngp(
    net: torch.nn.Module, x1: Inputs, x2: Inputs | None = None, *, mask1: Tensor | None = None, mask2: Tensor | None = None,
    diagonal: bool = False, tile: int | None = None, progress: bool | None = None, backend: str = "auto", devices: Any = None,
) -> Tensor:  # fmt: skip
    """The covariance of one output of a network of infinite width (its NNGP kernel).

    K(x, x') = E f(x) f(x') over the weights.

    Args:
        net, x1, x2, mask1, mask2, diagonal, tile, progress, backend, devices: as in `ntk`.

    Returns:
        (N1, N2); with positions left at the output (N1, N2, *S1, *S2).

    Raises:
        UnsupportedError, TypeError, ValueError: as `ntk`.

    Lee et al. 2018 (arXiv 1711.00165); Matthews et al. 2018 (arXiv 1804.11271).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nngp(tt.nn.Linear(2, 64, b_std=0.), torch.eye(2))
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    return _compute(net, x1, x2, False, diagonal, tile, progress, backend, devices, (mask1, mask2))[0]


def kernels(
    net: torch.nn.Module, x1: Inputs, x2: Inputs | None = None, *, mask1: Tensor | None = None, mask2: Tensor | None = None,
    diagonal: bool = False, tile: int | None = None, progress: bool | None = None, backend: str = "auto", devices: Any = None,
) -> Kernels:  # fmt: skip
    """Both kernels in one pass: a named tuple (nngp, ntk).

    Args:
        net, x1, x2, mask1, mask2, diagonal, tile, progress, backend, devices: as in `ntk`.

    Raises:
        UnsupportedError, TypeError, ValueError: as `ntk`.

    Example:
        >>> import torch, torchtangents as tt
        >>> k = tt.kernels(tt.nn.Linear(2, 64), torch.randn(3, 2))
        >>> torch.equal(k.nngp, k.ntk)
        True
    """
    nngp_, ntk_ = _compute(net, x1, x2, True, diagonal, tile, progress, backend, devices, (mask1, mask2))
    return Kernels(nngp_, ntk_)  # type: ignore[arg-type]


def require_gaussian_output(net: torch.nn.Module, x: Inputs) -> None:
    """Refuse a network whose outputs are not independent Gaussians, as inference needs them.

    Args:
        net, x: as in `ntk`.

    Raises:
        ValueError: positions are left, or the last layer is not a random linear one.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.kernels import require_gaussian_output
        >>> require_gaussian_output(tt.nn.Linear(2, 1), torch.ones(1, 2))
    """
    program = record(net, as_arguments(x, "x"))
    if program.layout:
        raise ValueError(
            f"{type(net).__name__}: expected one number an output, but positions {program.root.size} are left; end the "
            "network with a global pool, or Flatten and a Linear layer"
        )
    if not program.output.gaussian:
        raise ValueError(
            f"{type(net).__name__}: its outputs are not Gaussian (it does not end in a Linear or Conv layer), so inference "
            "with its kernel means nothing; add a tt.nn.Linear at the end"
        )


@uncompiled
def _compute(
    net: torch.nn.Module, x1: Inputs, x2: Inputs | None, want_ntk: bool, diagonal: bool, tile: int | None,
    progress: bool | None, backend: str, devices: Any, masks: tuple[Tensor | None, Tensor | None],
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    if backend not in NAMES:
        raise ValueError(f"expected backend 'auto', 'reference', 'cpu' or 'triton', got {backend!r}")
    if tile is not None and (not isinstance(tile, int) or tile < 1):
        raise ValueError(f"expected tile as a positive number of inputs, got {tile!r}")
    places = None if devices is None else named(devices)
    if diagonal and x2 is not None:
        raise ValueError("expected x2=None with diagonal=True: the diagonal is of every input with itself")
    args1 = as_arguments(x1, "x1")
    args2 = None if x2 is None else as_arguments(x2, "x2")
    if args2 is not None:
        check_pair(args1, args2)
        check_finite(args2, "x2")
    check_finite(args1, "x1")
    mask1, mask2 = check_masks(masks, args1, args2)
    if places is not None:

        def compute(first: Program, second: Program) -> tuple[Tensor, Tensor | None]:
            return execute(first, second, want_ntk, diagonal, tile, False, backend)

        return spread(partial(record, net), compute, (args1, args2), (mask1, mask2), places, diagonal, progress)
    first = record(net, args1, mask1)
    second = first if args2 is None else record(net, args2, mask2)
    return execute(first, second, want_ntk, diagonal, tile, progress, backend)


def execute(
    first: Program,
    second: Program,
    ntk: bool,
    diagonal: bool = False,
    tile: int | None = None,
    progress: bool | None = None,
    backend: str = "auto",
) -> tuple[Tensor, Tensor | None]:
    """The kernels of recorded programs, in the precision of the data."""
    with on_host():
        parts = (
            _own(first, ntk, tile)
            if diagonal
            else pairs(first, second, output_planes(first, second), ntk, tile, progress, backend)
        )
    results = tuple(None if p is None else _arranged(p, first, second, 1 if diagonal else 2) for p in parts)
    for part in results:
        if part is not None:
            check_result(part, first.dtype)
    return results  # type: ignore[return-value]


def _own(program: Program, ntk: bool, tile: int | None) -> tuple[Tensor | None, ...]:
    """(nngp, ntk) of every input with itself, dense over what positions are left."""
    wanted = output_planes(program, program) if program.layout else zero_planes(len(program.root.size))
    _, block = self_pass(program, wanted, ntk, tile)
    assert block is not None
    return tuple(None if p is None else block.grid.dense(p) for p in (block.nngp, block.ntk if ntk else None))


def _arranged(part: Tensor, first: Program, second: Program, batch: int) -> Tensor:
    """Positions in the order of the output's axes, in the data's precision."""
    n = len(first.root.size)
    order = [tag for group in first.layout for tag in group]
    part = part.permute(*range(batch), *(batch + t for t in order), *(batch + n + t for t in order))
    sizes = [[math.prod(p.root.size[t] for t in group) for group in p.layout] for p in (first, second)]
    return part.reshape(*part.shape[:batch], *sizes[0], *sizes[1]).to(first.dtype)
