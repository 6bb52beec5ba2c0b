"""One kernel on several devices of this process: each computes its share of the rows, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .engine.progress import watched
from .engine.tiles import transposed
from .graph.program import Program

Parts = tuple[Tensor, Tensor | None]
Compute = Callable[[Program, Program], Parts]


@dataclass(frozen=True)
class Piece:
    """Rows and columns that one device computes; no columns for rows with themselves."""

    device: torch.device
    rows: slice
    columns: slice | None


def named(devices: Any) -> list[torch.device]:
    """The devices of an argument: one, or a list of them."""
    given = devices if isinstance(devices, Sequence) and not isinstance(devices, str) else [devices]
    if not given:
        raise ValueError(
            "devices: expected a device or a list of devices, got none; leave it out to compute where the inputs are"
        )
    out = []
    for name in given:
        try:
            device = torch.device(name)
        except (TypeError, RuntimeError) as error:
            raise ValueError(f"devices: expected names of devices such as 'cuda:1', got {name!r}") from error
        count = torch.cuda.device_count() if device.type == "cuda" else None
        if count is not None and (device.index or 0) >= count:
            raise ValueError(f"devices: expected one of the {count} CUDA devices that torch sees, got {str(device)!r}")
        out.append(device)
    return out


def pieces(devices: list[torch.device], n1: int, n2: int | None) -> list[Piece]:
    """Shares of n1 rows and n2 columns; of rows with themselves (None) each device gets long and short ones of the triangle."""
    if n2 is not None or len(devices) < 2:
        cuts = _cuts(n1, len(devices))
        return [Piece(d, rows, None if n2 is None else slice(0, n2)) for d, rows in zip(devices, cuts, strict=False)]
    cuts, out = _cuts(n1, 2 * len(devices)), []
    for i, rows in enumerate(cuts):
        device = devices[min(i, 2 * len(devices) - 1 - i)]
        out += [Piece(device, rows, None)] + [Piece(device, rows, slice(rows.stop, n1))] * (rows.stop < n1)
    return out


def spread(
    record: Callable[[tuple, Any], Program], compute: Compute, inputs: tuple[tuple, tuple | None], masks: tuple[Any, Any],
    devices: list[torch.device], diagonal: bool, progress: bool | None,
) -> Parts:  # fmt: skip
    """Both kernels, put together on the inputs' device; `record` and `compute` are those of one device."""
    tensors = [[a for a in args if isinstance(a, Tensor)] if args else None for args in inputs]
    assert tensors[0] is not None
    home, n1 = tensors[0][0].device, len(tensors[0][0])
    n2 = None if tensors[1] is None else len(tensors[1][0])
    if diagonal:
        found = [Piece(d, rows, None) for d, rows in zip(devices, _cuts(n1, len(devices)), strict=False)]
    else:
        found = pieces(devices, n1, n2)
    there = {
        d: (_moved(inputs[0], d), _moved(inputs[1], d), *(_moved((m,), d)[0] for m in masks)) for d in {p.device for p in found}
    }
    pools = {d: ThreadPoolExecutor(1) for d in there}
    enabled = torch.is_grad_enabled()
    futures: list[tuple[Piece, Future[Parts]]] = []
    try:
        for piece in found:
            x1, x2, mask1, mask2 = there[piece.device]
            first = record(_cut(x1, piece.rows), _cut((mask1,), piece.rows)[0])
            if piece.columns is None:
                second = first
            elif n2 is None:
                second = record(_cut(x1, piece.columns), _cut((mask1,), piece.columns)[0])
            else:
                second = record(_cut(x2, piece.columns), _cut((mask2,), piece.columns)[0])
            futures.append((piece, pools[piece.device].submit(_run, compute, first, second, piece.device, enabled)))
        return _together(futures, home, n1, n2, diagonal, progress)
    finally:
        for pool in pools.values():
            pool.shutdown(wait=True, cancel_futures=True)


def _run(compute: Compute, first: Program, second: Program, device: torch.device, enabled: bool) -> Parts:
    """In a thread, which has a current device and a mode of autograd of its own."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext(), torch.set_grad_enabled(enabled):
        return compute(first, second)


def _together(
    futures: list[tuple[Piece, Future[Parts]]], home: torch.device, n1: int, n2: int | None, diagonal: bool, progress: bool | None
) -> Parts:  # fmt: skip
    out: list[Tensor | None] = [None, None]
    for piece, future in watched(futures, progress, unit="share"):
        for i, part in enumerate(future.result()):
            if part is None:
                continue
            part = part.to(home)
            if out[i] is None:
                batch = (n1,) if diagonal else (n1, n1 if n2 is None else n2)
                out[i] = part.new_empty(*batch, *part.shape[len(batch) :])
            columns = piece.rows if piece.columns is None else piece.columns
            out[i][piece.rows if diagonal else (piece.rows, columns)] = part  # type: ignore[index]
            if n2 is None and piece.columns is not None:
                out[i][columns, piece.rows] = transposed(part)  # type: ignore[index]
    return out[0], out[1]  # type: ignore[return-value]


def _cuts(n: int, count: int) -> list[slice]:
    """At most `count` parts of n, as equal as can be; one, empty, of nothing."""
    edges = [n * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges) if b > a] or [slice(0, 0)]


def _moved(args: tuple | None, device: torch.device) -> Any:
    return None if args is None else tuple(a.to(device) if isinstance(a, Tensor) else a for a in args)


def _cut(args: tuple, rows: slice) -> tuple:
    return tuple(a[rows] if isinstance(a, Tensor) else a for a in args)
