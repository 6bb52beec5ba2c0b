"""Empirical kernels by brute force: whole Jacobians from torch.func.jacrev, one sample at a time."""

import torch
from torch.utils import _pytree as pytree


def _call(model, x, i):
    one = pytree.tree_map(lambda t: t[i : i + 1] if isinstance(t, torch.Tensor) else t, x)
    if isinstance(one, dict):
        return (), one
    return (one if isinstance(one, tuple) else (one,)), {}


def count(x):
    return len(next(t for t in pytree.tree_leaves(x) if isinstance(t, torch.Tensor)))


def jacobians(model, x, names=None):
    """Of each output leaf (N, *axes, P)."""
    trainable = {k: p.detach() for k, p in model.named_parameters() if p.requires_grad and (names is None or k in names)}
    rows = []
    for i in range(count(x)):
        args, kwargs = _call(model, x, i)

        def forward(p):
            out = torch.func.functional_call(model, p, args, kwargs)
            return [leaf[0] for leaf in pytree.tree_leaves(dict(out) if isinstance(out, dict) else out)]

        js = torch.func.jacrev(forward)(trainable)
        outs = forward(trainable)
        rows.append([torch.cat([j[k].reshape(*o.shape, -1) for k in trainable], -1) for j, o in zip(js, outs, strict=True)])
    return [torch.stack(leaf) for leaf in zip(*rows, strict=True)]


def outputs(model, x):
    """Of each output leaf (N, *axes, 1)."""
    with torch.no_grad():
        rows = []
        for i in range(count(x)):
            args, kwargs = _call(model, x, i)
            out = model(*args, **kwargs)
            rows.append([leaf[0, ..., None] for leaf in pytree.tree_leaves(dict(out) if isinstance(out, dict) else out)])
    return [torch.stack(leaf) for leaf in zip(*rows, strict=True)]


def kernel(j1, j2, trace_axes, diagonal_axes):
    """The definition: all pairs of outputs, then traces (over their size) and diagonals, axes zipped."""
    n = j1.ndim - 1
    trace = [a % n for a in trace_axes] if n > 1 or trace_axes != (-1,) else []
    diagonal = [a % n for a in diagonal_axes]
    first = list(range(n))
    second = [a if a in trace + diagonal else n + a for a in range(n)]
    out = [i for a in range(n) if a not in trace for i in ((a,) if a in diagonal else (a, n + a))]
    k = torch.einsum(j1, [*first, 2 * n], j2, [*second, 2 * n], out)
    for a in trace:
        k = k / j1.shape[a]
    return k
