"""Kernels of infinite width from random finite networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .empirical.functional import Inputs, Selection, require_deterministic
from .empirical.running import Running, counts

KINDS = ("nngp", "ntk")


class MonteCarlo(NamedTuple):
    """Means over networks, their standard errors, and how many networks; None where a kernel was not asked for.

    Attributes:
        nngp, ntk: the means, in the shapes of `empirical.kernels`.
        nngp_error, ntk_error: their standard errors, entry by entry.
        n_samples: how many networks were drawn.

    Example:
        >>> import torch, torchtangents as tt
        >>> estimate = tt.monte_carlo(tt.nn.Linear(2, 1), torch.eye(2), n_samples=4)
        >>> estimate.nngp.shape, estimate.n_samples
        (torch.Size([2, 2]), 4)
    """

    nngp: Any
    ntk: Any
    nngp_error: Any
    ntk_error: Any
    n_samples: int


def monte_carlo(
    model: nn.Module, x1: Inputs, x2: Inputs | None = None, *, n_samples: int | Iterable[int],
    generator: torch.Generator | None = None, kernels: str | Iterable[str] = KINDS,
    trace_axes: Iterable[int] | int = (-1,), diagonal_axes: Iterable[int] | int = (), implementation: str = "auto",
    parameters: Selection = None, reset: Callable[[nn.Module], Any] | None = None, tile: int | None = None,
    progress: bool | None = None,
) -> MonteCarlo | Iterator[MonteCarlo]:  # fmt: skip
    """The mean empirical NNGP and NTK of networks drawn at random, with standard errors: for any module that can be reset.

    K = 1/n sum_i K_i, with the error sqrt(sum_i (K_i - K)^2 / (n (n - 1))), entry by entry, over n initialisations. What the
    network's finite width adds to the mean (of order 1/width) is no part of that error.

    Args:
        model: any module in evaluation mode, every parameter of which some submodule's `reset_parameters` draws anew. It is
            copied and stays as it is; buffers keep their values.
        x1, x2: inputs, as in `empirical.kernels`.
        n_samples: how many networks, at least 2; or increasing counts, for a generator that yields the estimate at each.
        generator: where the seeds of the networks come from; torch's default generator is then neither read nor changed. None
            draws the seeds from that default.
        kernels: "nngp", "ntk", or both.
        trace_axes, diagonal_axes, implementation, parameters, tile: as in `empirical.kernels`.
        reset: called with the copy to draw its parameters anew, in place of the submodules' `reset_parameters`.
        progress: True shows a bar over the networks, False none, None one when it takes more than a second.

    Returns:
        A named tuple (nngp, ntk, nngp_error, ntk_error, n_samples), in the precision of the kernels.

    Raises:
        ValueError: BatchNorm in training mode; a parameter that is not drawn anew, by name; one that two modules share,
            without `reset`; a count below 2, or counts that do not increase; as `empirical.kernels` otherwise.

    Novak et al. 2019 (arXiv 1810.05148) for the estimate; Welford 1962 for its accumulation.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
        >>> estimate = tt.monte_carlo(net, torch.randn(3, 2), n_samples=10, generator=torch.Generator().manual_seed(0))
        >>> estimate.ntk.shape, bool((estimate.ntk_error > 0).all())
        (torch.Size([3, 3]), True)
    """
    asked = (kernels,) if isinstance(kernels, str) else tuple(kernels)
    if not asked or any(kind not in KINDS for kind in asked):
        raise ValueError(f"kernels: expected 'nngp', 'ntk' or both, got {kernels!r}")
    options = {
        "trace_axes": trace_axes, "diagonal_axes": diagonal_axes, "implementation": implementation, "parameters": parameters,
        "tile": tile, "progress": False,
    }  # fmt: skip
    from . import empirical

    def compute(net: nn.Module) -> dict[str, Any]:
        if len(set(asked)) == 2:
            return empirical.kernels(net, x1, x2, **options)._asdict()
        if asked[0] == "ntk":
            return {"ntk": empirical.ntk(net, x1, x2, **options)}
        return {"nngp": empirical.nngp(net, x1, x2, trace_axes=trace_axes, diagonal_axes=diagonal_axes)}

    estimates = sampled(model, compute, counts(n_samples), generator, reset, progress)
    return estimates if isinstance(n_samples, Iterable) else next(estimates)


def sampled(
    model: nn.Module, compute: Callable[[nn.Module], dict[str, Any]], wanted: list[int], generator: torch.Generator | None,
    reset: Callable[[nn.Module], Any] | None, progress: bool | None = False,
) -> Iterator[MonteCarlo]:  # fmt: skip
    """Estimates at the counts `wanted` of the mean of `compute(network)`, a dictionary of kernels, over networks drawn anew."""
    require_deterministic(model)
    draw = reset or _own_reset(model)
    net = copy.deepcopy(model)
    _redraw(net, draw, 0)  # what is refused is refused here, not in the midst of an iteration

    def estimates() -> Iterator[MonteCarlo]:
        running: list[Running] = []
        spec = dtypes = None
        for count, last in _watched(wanted, progress):
            _redraw(net, draw, _seed(generator))
            leaves, spec = pytree.tree_flatten(compute(net))
            dtypes = [t.dtype for t in leaves]
            running = running or [Running() for _ in leaves]
            for each, leaf in zip(running, leaves, strict=True):
                each.add(leaf)
            if last:
                assert spec is not None
                means, errors = (
                    pytree.tree_unflatten([t.to(d) for t, d in zip(ts, dtypes, strict=True)], spec)
                    for ts in ([r.mean for r in running], [r.error() for r in running])
                )
                yield MonteCarlo(means.get("nngp"), means.get("ntk"), errors.get("nngp"), errors.get("ntk"), count)

    return estimates()


def _watched(wanted: list[int], progress: bool | None) -> Iterator[tuple[int, bool]]:
    """1, 2, .. up to the last count, and whether an estimate is wanted there."""
    from .engine.progress import watched

    for i in watched(list(range(1, wanted[-1] + 1)), progress, "networks", "network"):
        yield i, i in wanted


def _seed(generator: torch.Generator | None) -> int:
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**63 - 1, (), generator=generator, device=device))


def _own_reset(model: nn.Module) -> Callable[[nn.Module], Any]:
    """Every submodule's `reset_parameters`, those inside first, as when the model was made."""
    owners: dict[Tensor, str] = {}
    for name, layer in model.named_modules():
        for key, p in layer._parameters.items():
            if p is None:
                continue
            if p in owners:
                raise ValueError(
                    f"{name}.{key} and {owners[p]} are one parameter, so which of their modules draws it is open; pass "
                    "reset=, a function that draws the parameters of a module"
                )
            owners[p] = f"{name}.{key}"

    def draw(net: nn.Module) -> None:
        for layer in _inside_out(net):
            own = getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)  # torch's attention
            if callable(own):
                own()

    return draw


def _inside_out(net: nn.Module) -> Iterator[nn.Module]:
    for child in net.children():
        yield from _inside_out(child)
    yield net


def _redraw(net: nn.Module, draw: Callable[[nn.Module], Any], seed: int) -> None:
    """New parameters from a seed; each starts as NaN, which tells those that nothing draws."""
    devices = sorted({p.device.index for p in net.parameters() if p.is_cuda})
    with torch.no_grad(), torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch devices that are not forked
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        for p in net.parameters():
            if isinstance(p, nn.UninitializedParameter):
                raise ValueError(f"{type(net).__name__}: expected parameters with shapes; run its forward once first")
            p.fill_(torch.nan)
        draw(net)
    for name, p in net.named_parameters():
        if bool(torch.isnan(p).any()):
            at, _, key = name.rpartition(".")
            layer = net.get_submodule(at)
            raise ValueError(
                f"{name}: expected a parameter that {type(layer).__name__}.reset_parameters draws anew, but nothing draws "
                f"{key!r}; define that method, or pass reset=, a function that draws the parameters of a module"
            )
