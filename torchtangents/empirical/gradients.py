"""Gradients of each sample's outputs, one backward pass for a sample and output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap
from torch.utils import _pytree as pytree

from ..engine.progress import watched
from .functional import Data, Function, Parameters
from .memory import samples_at_once


class SampleGradients:
    """The gradients d <c, f(x_i)> / dp of every sample i for given c, as rows of all trained parameters side by side.

    All samples at once where torch can (`torch.func.vmap`; checked on two samples), one after the other where it cannot.

    Args:
        function: a model with one output.
        copies: how many blocks of gradients the caller holds at once.

    Example:
        >>> import torch
        >>> from torchtangents.empirical.functional import Function
        >>> from torchtangents.empirical.gradients import SampleGradients
        >>> function = Function(torch.nn.Linear(2, 1, bias=False), torch.eye(2))
        >>> SampleGradients(function)(function.data, torch.ones(1, 1))
        tensor([[[1., 0.],
                 [0., 1.]]])
    """

    def __init__(self, function: Function, copies: int = 2):
        self.function = function
        self.output = tuple(function.output().shape[1:])
        self.outputs = function.output().numel()
        self.size = sum(p.numel() for p in function.trained.values())
        self.samples = samples_at_once(function, copies=2, gradients=copies + 1)
        self.together = self._works_together()

    def __call__(self, some: Data, cotangents: Tensor) -> Tensor:
        """(Q, n, P) from cotangents (Q, *O)."""
        with torch.no_grad():
            if self.together:
                return self._together(some, cotangents)
            return torch.cat([self._one(some.rows(slice(i, i + 1)), cotangents) for i in range(some.size)], 1)

    def of_outputs(self, some: Data, progress: bool | None) -> Iterator[tuple[slice, slice, Tensor]]:
        """Every gradient of every output: samples, outputs, and a block (q, n, P)."""
        like = self.function.output()
        rows = [slice(i, min(some.size, i + self.samples)) for i in range(0, some.size, self.samples)]
        at_once = max(1, self.samples // min(self.samples, some.size))
        columns = [slice(i, min(self.outputs, i + at_once)) for i in range(0, self.outputs, at_once)]
        for r, c in watched([(r, c) for r in rows for c in columns], progress):
            unit = torch.zeros(c.stop - c.start, self.outputs, dtype=like.dtype, device=like.device)
            unit[range(c.stop - c.start), range(c.start, c.stop)] = 1
            yield r, c, self(some.rows(r), unit.reshape(-1, *self.output))

    def _together(self, some: Data, cotangents: Tensor) -> Tensor:
        leaves, spec = pytree.tree_flatten((some.args, some.kwargs))
        at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

        def one(*tensors: Tensor) -> Tensor:
            single: list[Any] = list(leaves)
            for i, t in zip(at, tensors, strict=True):
                single[i] = t[None]
            args, kwargs = pytree.tree_unflatten(single, spec)
            return self._one(Data(args, kwargs, 1), cotangents)[:, 0]

        return vmap(one, out_dims=1)(*(leaves[i] for i in at))

    def _one(self, sample: Data, cotangents: Tensor) -> Tensor:
        """(Q, 1, P) of one sample."""

        def outputs(p: Parameters) -> Tensor:
            return pytree.tree_leaves(self.function(p, sample, 0))[0][0]

        back = vjp(outputs, self.function.trained)[1]
        gradients = vmap(lambda c: back(c)[0])(cotangents)
        return torch.cat([g.reshape(len(cotangents), -1) for g in gradients.values()], 1)[:, None]

    def _works_together(self) -> bool:
        some = self.function.data.rows(slice(0, 2))
        like = self.function.output()
        seeded = torch.Generator().manual_seed(0)
        cotangents = torch.randn(like.shape, generator=seeded, dtype=like.dtype, device="cpu").to(like.device)
        with torch.no_grad():
            wanted = torch.cat([self._one(some.rows(slice(i, i + 1)), cotangents) for i in range(some.size)], 1)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about functions that vmap runs one by one
                    found = self._together(some, cotangents)
            except Exception:  # whatever vmap cannot do: one by one has worked above
                return False
        allowed = 1e2 * torch.finfo(like.dtype).eps ** 0.5 * wanted.abs().max()
        return bool(((found - wanted).abs() <= allowed).all())
