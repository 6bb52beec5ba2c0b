"""The verbs of empirical kernels: `ntk`, `nngp`, `kernels`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..engine.progress import watched
from ..inputs import check_result
from ..surroundings import uncompiled
from .hazards import Parameters, check_modes, check_precision, counted
from .outputs import Axes, leaves_of
from .passes import Network, checked_outputs
from .plan import Tiles, costs, described, size
from .rules import RULES
from .samples import Samples, check_alike
from .tiling import Job, structured_blocks, vector_blocks

IMPLEMENTATIONS = ("auto", "jacobian", "vector_products", "structured")


class Kernels(NamedTuple):
    """Both empirical kernels of one network.

    Attributes:
        nngp: in the shape that `nngp` returns.
        ntk: in the shape that `ntk` returns.

    Example:
        >>> import torch, torchtangents as tt
        >>> nngp, ntk = tt.empirical.kernels(torch.nn.Linear(2, 3), torch.eye(2))
        >>> nngp.shape == ntk.shape == (2, 2)
        True
    """

    nngp: Any
    ntk: Any


@uncompiled
def ntk(
    model: torch.nn.Module, x1: Any, x2: Any = None, *, implementation: str = "auto", trace_axes: Sequence[int] = (-1,),
    diagonal_axes: Sequence[int] = (), parameters: Parameters = None, tile: int | None = None, progress: bool | None = None,
    explain: bool = False,
) -> Any:  # fmt: skip
    """The neural tangent kernel of a finite network, at its present parameters w.

    Theta(x, x')[a, b] = <df_a(x)/dw, df_b(x')/dw>, for outputs a, b.

    Args:
        model: any module; samples must not interact, so BatchNorm and Dropout in eval mode.
        x1: inputs (N1, ..), a tuple of forward's arguments, or a dict of its keyword arguments. Every tensor has the samples
            on axis 0; other values and 0-dim tensors are shared by them.
        x2: inputs (N2, ..) of the same kind; None means x1, computes each Jacobian once, and skips what lies below the diagonal.
        implementation: "jacobian" (Jacobian contraction, a parameter at a time), "vector_products" (a vjp, then a jvp),
            "structured" (a layer's inputs and cotangents, contracted without its Jacobian), or "auto": the one with the least
            counted multiplications. All are exact; structured derivatives choose the cheaper contraction for each parameter.
        trace_axes: output axes (the samples on 0) that are contracted and divided by their size; the default traces the last.
            An output without any axis but the samples' has nothing to trace by default.
        diagonal_axes: output axes of which only the diagonal is computed.
        parameters: names, or a predicate on (name, parameter); None for all with `requires_grad`.
        tile: samples on a side of a tile; None chooses from free memory.
        progress: True shows a bar, False none, None one when it takes more than a second.
        explain: print the algorithm, the memory, and how each parameter is contracted, with the counts.

    Returns:
        (N1, N2, *axes): each output axis that is neither traced nor diagonal twice in a row, (O, O); a dict or tuple of such
        where the model returns one (each output by itself). Half precision comes back in float32. No gradient is recorded.

    Raises:
        TypeError, ValueError: no trainable parameters; a layer that mixes samples, changes a buffer or draws random numbers, by
            its dotted name; an output that is not floating point or has no samples on axis 0; inputs of the wrong kind.

    Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572); Novak, Sohl-Dickstein and Schoenholz 2022 (arXiv 2206.08720).

    Example:
        >>> import torch
        >>> from torchtangents import empirical
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> empirical.ntk(net, torch.randn(5, 3)).shape
        torch.Size([5, 5])
        >>> empirical.ntk(net, torch.randn(5, 3), torch.randn(4, 3), trace_axes=()).shape
        torch.Size([5, 4, 2, 2])
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation: expected one of {', '.join(map(repr, IMPLEMENTATIONS))}, got {implementation!r}")
    if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 1):
        raise ValueError(f"expected tile as a positive number of samples, got {tile!r}")
    chosen = counted(model, parameters)
    first, second, leaves, spec = _prepared(model, x1, x2, chosen)
    results: list[Any] = []
    for leaf, value in enumerate(leaves):
        if value is None:
            results.append(None)
            continue
        axes = Axes.of(tuple(value.shape[1:]), trace_axes, diagonal_axes)
        _check_paired(axes, first, second)
        results.append(_one(model, first, second, chosen, leaf, axes, implementation, tile, progress, explain))
    return pytree.tree_unflatten(results, spec)


@uncompiled
def nngp(
    model: torch.nn.Module, x1: Any, x2: Any = None, *, trace_axes: Sequence[int] = (-1,), diagonal_axes: Sequence[int] = ()
) -> Any:
    """The product of a finite network's outputs, one sample of its NNGP kernel.

    K(x, x')[a, b] = f_a(x) f_b(x'), for outputs a, b.

    Args:
        model, x1, x2, trace_axes, diagonal_axes: as in `ntk`.

    Returns:
        As `ntk`.

    Raises:
        TypeError, ValueError: as `ntk`; parameters need not be trainable.

    Lee et al. 2018 (arXiv 1711.00165).

    Example:
        >>> import torch
        >>> from torchtangents import empirical
        >>> empirical.nngp(torch.nn.Identity(), torch.tensor([[1., 2.], [3., 0.]]))
        tensor([[2.5000, 1.5000],
                [1.5000, 4.5000]])
    """
    first, second, leaves, spec = _prepared(model, x1, x2, {})
    with torch.no_grad():
        one = [leaf for _, leaf in leaves_of(first.call(model, first.tensors(slice(None))))[0]]
        two = None if second is None else [leaf for _, leaf in leaves_of(second.call(model, second.tensors(slice(None))))[0]]
    results: list[Any] = []
    for i, value in enumerate(leaves):
        if value is None:
            results.append(None)
            continue
        axes = Axes.of(tuple(value.shape[1:]), trace_axes, diagonal_axes)
        _check_paired(axes, first, second)
        a = axes.sorted(_work(one[i]))  # (N, diagonal, traced, free)
        b = a if two is None else axes.sorted(_work(two[i]))
        equation = "ndta,ndtb->dnab" if axes.paired else "ndta,mdtb->dnamb"
        k = axes.arranged(torch.einsum(equation, a, b) / axes.counts[1])
        check_result(k, k.dtype)
        results.append(k)
    return pytree.tree_unflatten(results, spec)


@uncompiled
def kernels(
    model: torch.nn.Module, x1: Any, x2: Any = None, *, implementation: str = "auto", trace_axes: Sequence[int] = (-1,),
    diagonal_axes: Sequence[int] = (), parameters: Parameters = None, tile: int | None = None, progress: bool | None = None,
    explain: bool = False,
) -> Kernels:  # fmt: skip
    """Both kernels of a finite network: a named tuple (nngp, ntk).

    Args:
        model, x1, x2, implementation, trace_axes, diagonal_axes, parameters, tile, progress, explain: as in `ntk`.

    Raises:
        TypeError, ValueError: as `ntk`.

    Example:
        >>> import torch
        >>> from torchtangents import empirical
        >>> k = empirical.kernels(torch.nn.Linear(2, 3), torch.randn(4, 2))
        >>> k.nngp.shape, k.ntk.shape
        (torch.Size([4, 4]), torch.Size([4, 4]))
    """
    tangent = ntk(
        model, x1, x2, implementation=implementation, trace_axes=trace_axes, diagonal_axes=diagonal_axes, parameters=parameters,
        tile=tile, progress=progress, explain=explain,
    )  # fmt: skip
    return Kernels(nngp(model, x1, x2, trace_axes=trace_axes, diagonal_axes=diagonal_axes), tangent)


def _prepared(model: Any, x1: Any, x2: Any, chosen: dict) -> tuple[Samples, Samples | None, list[Any], Any]:
    """Checked inputs, and the leaves of the output."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}; wrap a function in a module")
    check_modes(model)
    first = Samples(x1, "x1")
    second = None if x2 is None else Samples(x2, "x2")
    check_precision(first.device)
    for p in chosen.values():
        if p.device != first.device:
            raise ValueError(f"the model is on {p.device} but x1 on {first.device}; move one of them")
    leaves, spec = checked_outputs(model, first)
    if second is not None:
        check_alike(first, second)
        others, _ = checked_outputs(model, second)
        for a, b in zip(leaves, others, strict=True):
            if a is not None and a.shape[1:] != b.shape[1:]:
                raise ValueError(
                    f"expected outputs of one shape for x1 and x2, got {tuple(a.shape[1:])} and {tuple(b.shape[1:])} a sample"
                )
    return first, second, leaves, spec


def _check_paired(axes: Axes, first: Samples, second: Samples | None) -> None:
    if axes.paired and second is not None and second.count != first.count:
        raise ValueError(
            "the samples' axis 0 is traced or diagonal: expected as many samples in x1 and x2, "
            f"got {first.count} and {second.count}"
        )


def _one(
    model: torch.nn.Module, first: Samples, second: Samples | None, chosen: dict, leaf: int, axes: Axes, implementation: str,
    tile: int | None, progress: bool | None, explain: bool,
) -> Tensor:  # fmt: skip
    """The kernel of one output."""
    n1, n2 = first.count, None if second is None else second.count
    network = Network(model, chosen, RULES if implementation in ("auto", "structured") else {}, first, leaf)
    counts: dict[str, int] = {}
    if implementation == "auto":
        counts = costs(network, axes, n1, n2)
        implementation = min(("structured", "vector_products"), key=lambda k: counts[k])
        if implementation == "vector_products":
            network = Network(model, chosen, {}, first, leaf)
    elif explain and implementation == "structured":
        counts = costs(network, axes, n1, n2)
    other = network if second is None or second.like(first) else Network(model, chosen, network.rules, second, leaf)
    tiles = Tiles.of(network, axes, n1, n2, tile)
    if explain:
        print(described(network, axes, n1, n2, tiles, implementation, counts))
    elif progress is not False and tile is None and (tiles.panel < n1 or tiles.column < (n2 or n1) or tiles.cut(axes)):
        print(
            f"empirical ntk: the Jacobian of {size(tiles.whole)} does not fit; computing in tiles of {tiles.panel} x "
            f"{tiles.column} samples, {tiles.outputs} of {axes.counts[0] * axes.counts[1]} outputs at a time, "
            f"{size(tiles.bytes)} each",
            file=sys.stderr,
        )
    job = Job(network, other, axes, first, second, tiles)
    k = (vector_blocks if implementation == "vector_products" else structured_blocks)(job, lambda p: watched(p, progress))
    k = axes.arranged(k / axes.counts[1])
    check_result(k, k.dtype)
    return k


def _work(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
