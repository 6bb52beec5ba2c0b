"""Whole Jacobians of small networks, and kernels by their definition."""

import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from ..finite_networks import NETWORKS


class Leaf(nn.Module):
    """One of the outputs of a network."""

    def __init__(self, net, index=0):
        super().__init__()
        self.net, self.index = net, index

    def forward(self, *args, **kwargs):
        return pytree.tree_leaves(self.net(*args, **kwargs))[self.index]


def single(name):
    """A network with one output, and two sets of inputs."""
    net, x1 = NETWORKS[name]()
    _, x2 = NETWORKS[name]()
    return Leaf(net) if name in ("language", "recurrent") else net, x1, x2


def jacobians(net, x, selected=None):
    """(N, *O, P) for each output tensor."""
    p = {k: v.detach() for k, v in net.named_parameters() if v.requires_grad and (selected is None or k in selected)}

    def f(p):
        args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
        return pytree.tree_leaves(functional_call(net, p, args, kwargs))

    with sdpa_kernel([SDPBackend.MATH]):
        outputs, columns = f(p), jacrev(f)(p)
    return [
        torch.cat([j.reshape(*out.shape, -1) for j in column.values()], -1).detach()
        for out, column in zip(outputs, columns, strict=True)
    ]


def kernel(j1, j2, trace_axes=(-1,)):
    """(N1 K, N2 K): the outer product of Jacobians (N, *O, P), averaged over the traced axes."""
    n = j1.ndim - 1
    traced = sorted(a % n for a in trace_axes) if n > 1 else []
    kept = [a for a in range(n) if a not in traced]

    def arranged(j):
        j = j.permute(*kept, *traced, n)
        return j.reshape(j.shape[: len(kept)].numel(), -1, j.shape[-1])  # (N K, C, P)

    a, b = arranged(j1), arranged(j2)
    return torch.einsum("icp,jcp->ij", a, b) / a.shape[1]
