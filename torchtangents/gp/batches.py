"""Batches of inputs and of hyperparameters, for a kernel that computes two sets of inputs at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Between = Callable[..., Tensor]  # (a (N, D), b (M, D) or None for a, diagonal) -> (N, M) or (N,)
_ONE_CALL = 20_000  # entries that cost about as much as another call


def over_parameters(
    compute: Callable[[list[Tensor], Tensor, Tensor, bool], Tensor],
    values: list[Tensor],
    batch_shape: torch.Size,
    x1: Tensor,
    x2: Tensor,
    diag: bool,
) -> Tensor:
    """One call of `compute` for each set of hyperparameters; values (*batch_shape,), x1 (*batch, N, D)."""
    if batch_shape.numel() == 1:
        out = compute([v.reshape(()) for v in values], x1, x2, diag)
        return out[(None,) * max(0, len(batch_shape) - (out.ndim - (1 if diag else 2)))]
    same = x1 is x2
    batch = torch.broadcast_shapes(batch_shape, x1.shape[:-2], x2.shape[:-2])
    inner = batch[len(batch) - len(batch_shape) :]
    lead = batch[: len(batch) - len(batch_shape)]
    values = [v.expand(inner).reshape(-1) for v in values]
    x1, x2 = (x.expand(*batch, *x.shape[-2:]).reshape(*lead, -1, *x.shape[-2:]) for x in (x1, x2))
    results = []
    for i in range(inner.numel()):
        a = x1[..., i, :, :]
        results.append(compute([v[i] for v in values], a, a if same else x2[..., i, :, :], diag))
    stacked = torch.stack(results, len(lead))
    return stacked.reshape(*batch, *stacked.shape[len(lead) + 1 :])


def over_inputs(between: Between, x1: Tensor, x2: Tensor, diag: bool, costly: bool) -> Tensor:
    """The kernel of one set of hyperparameters; `costly` where an entry costs more than a call."""
    same = x1 is x2 or (not x1.requires_grad and not x2.requires_grad and torch.equal(x1, x2))
    batch = torch.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
    if diag and same:
        return between(x1.reshape(-1, x1.shape[-1]), None, diagonal=True).reshape(x1.shape[:-1])
    out = _matrices(between, x1, x1 if same else x2, batch, costly)
    return out.diagonal(dim1=-2, dim2=-1) if diag else out


def _matrices(between: Between, x1: Tensor, x2: Tensor, batch: torch.Size, costly: bool) -> Tensor:
    same = x1 is x2
    n, m = x1.shape[-2], x2.shape[-2]
    if not batch.numel() or not n or not m:
        return x1.new_zeros(*batch, n, m)
    if not batch:
        return between(x1, None if same else x2)
    if not same:
        shared1, shared2 = _shared(x1), _shared(x2)
        if shared1 is not None and shared2 is not None:
            return between(shared1, shared2).expand(*batch, n, m)
        if shared2 is not None:
            return between(x1.reshape(-1, x1.shape[-1]), shared2).reshape(*x1.shape[:-2], n, m).expand(*batch, n, m)
        if shared1 is not None:
            out = between(shared1, x2.reshape(-1, x2.shape[-1]))  # (n, b m)
            return out.reshape(n, *x2.shape[:-2], m).movedim(0, -2).expand(*batch, n, m)
    a, b = (x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:]) for x in (x1, x2))
    if not costly and len(a) * n * m <= _ONE_CALL:
        out = between(a.flatten(0, 1), None if same else b.flatten(0, 1)).reshape(len(a), n, len(a), m)
        out = out.diagonal(dim1=0, dim2=2).movedim(-1, 0)
    else:
        out = torch.stack([between(p, None if same else q) for p, q in zip(a, b, strict=True)])
    return out.reshape(*batch, n, m)


def _shared(x: Tensor) -> Tensor | None:
    """The rows (N, D) that all of a batch have; None if they differ, or may have derivatives that do."""
    first = x.reshape(-1, *x.shape[-2:])[0]
    if x.shape[:-2].numel() == 1:
        return first
    if x.requires_grad:
        return None
    return first if bool((x == first).all()) else None
