"""Kernels that start from given covariances instead of data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .covariance.laws import Given
from .covariance.layout import images
from .covariance.state import State
from .graph.program import Program, record
from .graph.symbol import Symbol
from .kernels import Kernels, execute


class _Side(NamedTuple):
    own: Tensor
    batch: int
    size: tuple[int, ...]


def propagate(
    net: torch.nn.Module, k12: Tensor | Kernels, k11: Tensor, k22: Tensor | None = None, *, channels: int | None = None,
    tile: int | None = None, progress: bool | None = None,
) -> Kernels:  # fmt: skip
    """Both kernels of a network whose input has given covariances.

    Args:
        net: as in `ntk`; its first layer with weights sets the number of channels.
        k12: covariance across inputs, (N1, N2) or (N1, N2, *S1, *S2) with positions; or `Kernels` (nngp, ntk).
        k11: covariance of each first input with itself, (N1,) or (N1, *S1, *S1).
        k22: the same of the second inputs; None where both sets are one.
        channels: number of channels of the input; by default what the first layer with weights takes.
        tile, progress: as in `ntk`.

    Raises:
        ValueError: shapes that do not fit together, or no layer that tells the number of channels.
        UnsupportedError: as `ntk`.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 64, b_std=0.), tt.nn.ReLU())
        >>> tt.propagate(net, torch.eye(2), torch.ones(2)).nngp.diagonal()
        tensor([0.5000, 0.5000])
    """
    nngp, ntk = k12 if isinstance(k12, Kernels) else (k12, None)
    for name, k in (("k12", nngp), ("k11", k11), ("k22", k22), ("the NTK of k12", ntk)):
        if k is not None and (not isinstance(k, Tensor) or k.dtype not in (torch.float32, torch.float64)):
            raise TypeError(f"expected {name} as a float32 or float64 tensor, got {getattr(k, 'dtype', type(k).__name__)}")
        if k is not None and not bool(torch.isfinite(k).all()):
            raise ValueError(f"expected finite numbers in {name}")
    n = (nngp.ndim - 2) // 2
    one = _side(k11, n, "k11")
    two = one if k22 is None else _side(k22, n, "k22")
    expected = (one.batch, two.batch, *one.size, *two.size)
    if tuple(nngp.shape) != expected or (ntk is not None and ntk.shape != nngp.shape):
        raise ValueError(f"expected k12 of shape {expected} to go with k11 and k22, got {tuple(nngp.shape)}")
    count = channels or _channels(net)
    first = _program(net, one, nngp, ntk, count)
    second = first if k22 is None else _program(net, two, nngp, ntk, count)
    return Kernels(*execute(first, second, True, tile=tile, progress=progress))  # type: ignore[arg-type]


def _side(own: Tensor, n: int, name: str) -> _Side:
    size = tuple(own.shape[1 : 1 + n])
    if own.ndim != 1 + 2 * n or tuple(own.shape[1 + n :]) != size:
        raise ValueError(
            f"expected {name} of shape (N{', *S, *S' if n else ''}) with {n} axes of positions, got {tuple(own.shape)}"
        )
    return _Side(own, len(own), size)


def _channels(net: torch.nn.Module) -> int:
    counts = (getattr(module, name, None) for module in net.modules() for name in ("in_channels", "in_features"))
    first = next((c for c in counts if isinstance(c, int)), 0)
    if first:  # a lazy layer holds 0
        return first
    raise ValueError(f"{type(net).__name__}: no layer tells the number of channels; give channels=")


def _program(net: torch.nn.Module, side: _Side, nngp: Tensor, ntk: Tensor | None, channels: int) -> Program:
    state = State.of(Given(side.size, side.own, nngp, ntk), channels, images(len(side.size)))
    return record(net, (Symbol.make(state, side.batch, nngp.dtype, nngp.device),))
