"""NTK-vector products: a cotangent of x2's output goes back to the parameters and forward to x1's outputs.

Theta(x1, x2)[a, b] = (df(x1)/dw . (df(x2)/dw)^T e_b)[a]: a vjp, then a jvp. No Jacobian exists; the cost is N1 N2 forward passes
an output. Novak, Sohl-Dickstein and Schoenholz 2022 (arXiv 2206.08720).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .outputs import Axes, rows
from .passes import Network, undisturbed
from .samples import Samples


def column(
    network: Network, other: Network, axes: Axes, x1: Samples, among: slice, x2: Samples, at: int, chunk: tuple[slice, slice]
) -> Tensor:
    """One sample of x2 against some of x1: (diagonal, n1, free, free), summed over the chunk's traced outputs."""
    like = torch.empty(0, dtype=network.dtype, device=x1.device)
    basis = rows(axes, *chunk, like)
    tangents = [g[0] for g in other.block(x2, slice(at, at + 1), basis).cotangents]  # (R, *parameter)
    by_name = {s.uses[0][0].known.name: t for s, t in zip(other.sites, tangents, strict=True)}
    vectors = [_named(by_name, s.uses[0][0].known.name, s.shape, basis) for s in network.sites]
    with undisturbed(network.model, {}):
        out = _pushed(network, x1, among, vectors)
    d, t = (c.stop - c.start for c in chunk)
    out = axes.sorted(out.flatten(0, 1)).reshape(*out.shape[:2], *axes.counts)[:, :, chunk[0], chunk[1]]  # (n1, R, d, t, A)
    out = out.reshape(len(out), d, t, -1, d, t, out.shape[-1])
    return torch.einsum("ndtbdta->dnab", out)


def _pushed(network: Network, x1: Samples, among: slice, vectors: list[Tensor]) -> Tensor:
    """J v by forward mode; where a function has none, by two reverse passes."""
    if not network.looped:
        try:
            return _batched(network, x1, among, vectors)
        except (NotImplementedError, RuntimeError):
            pass
    return _looped(network, x1, among, vectors)


def _named(found: dict[str, Tensor], name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return found[name] if name in found else like.new_zeros(len(like), *shape)


def _batched(network: Network, x1: Samples, among: slice, vectors: list[Tensor]) -> Tensor:
    """(n1, R, *shape)."""
    zeros = tuple(network.probes(vectors[0]))

    def one(*tensors: Tensor) -> Tensor:
        def forward(*probes: Tensor) -> Tensor:
            return network._forward(x1, tensors, list(probes))[0]

        def push(*v: Tensor) -> Tensor:
            return torch.func.jvp(forward, zeros, v)[1]

        return torch.func.vmap(push)(*vectors)

    with torch.no_grad():
        return torch.func.vmap(one)(*x1.tensors(among))


def _looped(network: Network, x1: Samples, among: slice, vectors: list[Tensor]) -> Tensor:
    """The same sample by sample: J v is the derivative of u . J by u, times v."""
    results = []
    for tensors in zip(*x1.tensors(among), strict=True):
        with torch.enable_grad():
            out, recorder = network._forward(x1, tensors, None)
            u = torch.zeros_like(out, requires_grad=True)
            probes = recorder.made()
            pulled = torch.autograd.grad(out, probes, u, create_graph=True, allow_unused=True)
            kept = [(g, v) for g, v in zip(pulled, vectors, strict=True) if g is not None]
            pushed = [
                torch.autograd.grad([g for g, _ in kept], u, [v[i] for _, v in kept], retain_graph=True)[0]
                for i in range(len(vectors[0]))
            ]
        results.append(torch.stack(pushed))
    return torch.stack(results)
