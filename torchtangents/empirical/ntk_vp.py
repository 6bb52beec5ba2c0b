"""Products of the NTK of a finite network with vectors, without the matrix."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap
from torch.utils import _pytree as pytree

from ..surroundings import uncompiled
from .functional import Data, Function, Inputs, Parameters, Selection
from .memory import samples_at_once, vectors_at_once


@uncompiled
def ntk_vp(
    model: nn.Module, x1: Inputs, x2: Inputs | None = None, *, parameters: Selection = None, batch_size: int | None = None
) -> NTKVectorProduct:
    """The function v -> Theta(x1, x2) v, with the empirical NTK of a network, whose matrix is never formed.

    Theta(x1, x2) v = J(x1) (J(x2)' v): a reverse and a forward derivative, at the cost of a few evaluations of the model.

    Args:
        model: any module, in evaluation mode.
        x1, x2: inputs: a tensor (N, ..), a tuple of forward's arguments, or a mapping of its keyword arguments, every tensor
            with the samples on axis 0. None for x2 is x1.
        parameters: which trainable parameters count: None for all of them, names, or a predicate of name and value.
        batch_size: samples at once; None chooses from free memory.

    Returns:
        A function of v, which has the shape of model(x2): (N2, *O), or one more axis in front for a block of vectors; a tuple
        or dict of tensors if the outputs are. Its value has the shape of model(x1), with the same axis in front. The
        model is copied: what becomes of it later has no effect.

    Raises:
        ValueError: no trainable parameter, BatchNorm or dropout in training mode, a forward that changes its own state,
            outputs of one sample that depend on another sample; a batch_size below 1.
        TypeError: outputs that are not real floating point numbers; parameters in half precision.
        NotImplementedError: a function that torch cannot differentiate forward.

    Novak et al. 2022 (arXiv 2206.08720), section 3.3, "NTK-vector products".

    Example:
        >>> import torch, torchtangents as tt
        >>> net, x = torch.nn.Linear(2, 1, bias=False), torch.eye(2)
        >>> product = tt.empirical.ntk_vp(net, x, 3 * x)
        >>> product(torch.tensor([[1.], [2.]]))
        tensor([[3.],
                [6.]])
    """
    return NTKVectorProduct(Function(model, x1, parameters, "x1"), x2, batch_size)


class NTKVectorProduct:
    """What `ntk_vp` returns; `pull` and `push` are its two halves, J(x2)' v and J(x1) w.

    Example:
        >>> import torch, torchtangents as tt
        >>> product = tt.empirical.ntk_vp(torch.nn.Linear(2, 1, bias=False), torch.eye(2))
        >>> product.pull(torch.tensor([[[1.], [2.]]]))
        {'weight': tensor([[[1., 2.]]])}
    """

    def __init__(self, function: Function, x2: Inputs | None, batch_size: int | None):
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size: expected a positive number of samples, got {batch_size!r}")
        self.function = function.frozen()
        self.data1 = function.data
        self.data2 = self.data1 if x2 is None else function.also(x2)
        self.symmetric = x2 is None
        self.batch_size = batch_size or samples_at_once(function, copies=3)
        self.block_size = vectors_at_once(function)  # of J' v, each as large as the parameters

    def __call__(self, v: Any) -> Any:
        """Theta(x1, x2) v, or of each vector of a block."""
        single, block = self._block(v)
        product = self.of_block(block)
        return pytree.tree_map(lambda t: t[0], product) if single else product

    @uncompiled
    def of_block(self, block: Any) -> Any:
        """Theta(x1, x2) v of each vector of a block (B, N2, *O), as many at once as fit."""
        starts = range(0, len(pytree.tree_leaves(block)[0]), self.block_size)
        parts = [self.push(self.pull(pytree.tree_map(lambda t: t[i : i + self.block_size], block))) for i in starts]
        return pytree.tree_map(lambda *of: torch.cat(of), *parts)

    def transposed(self) -> NTKVectorProduct:
        """v -> Theta(x2, x1) v."""
        other = copy.copy(self)
        other.data1, other.data2 = self.data2, self.data1
        return other

    @uncompiled
    def pull(self, block: Any) -> Parameters:
        """J(x2)' v for a block (B, N2, *O) of vectors: parameters with an axis (B, ..) in front."""
        total: Parameters | None = None
        for rows in self._batches(self.data2):

            def outputs(p: Parameters, some: Data = self.data2.rows(rows)) -> Any:
                return self.function(p, some)

            with torch.no_grad():
                back = vjp(outputs, self.function.trained)[1]
                part = vmap(back, chunk_size=self._chunk(rows))(pytree.tree_map(lambda t: t[:, rows], block))[0]
            total = part if total is None else {k: t + part[k] for k, t in total.items()}
        assert total is not None
        return total

    @uncompiled
    def push(self, w: Parameters) -> Any:
        """J(x1) w for a block of directions: outputs (B, N1, *O)."""
        parts = []
        for rows in self._batches(self.data1):

            def along(direction: Parameters, some: Data = self.data1.rows(rows)) -> Any:
                return jvp(lambda p: self.function(p, some), (self.function.trained,), (direction,))[1]

            with torch.no_grad():
                parts.append(vmap(along, chunk_size=self._chunk(rows))(w))
        return pytree.tree_map(lambda *of: torch.cat(of, 1), *parts)

    def _batches(self, some: Data) -> Iterator[slice]:
        for start in range(0, some.size, self.batch_size):
            yield slice(start, min(some.size, start + self.batch_size))

    def _chunk(self, rows: slice) -> int:
        """Vectors at once, where fewer samples leave memory for more of them."""
        return max(1, self.batch_size // (rows.stop - rows.start))

    def _block(self, v: Any) -> tuple[bool, Any]:
        """Whether v is one vector, and v as a block (1, ..) or (B, ..)."""
        outputs, kind = pytree.tree_flatten(self.function.outputs)
        shapes = [(self.data2.size, *t.shape[1:]) for t in outputs]
        leaves, found = pytree.tree_flatten(v)
        if kind != found or not all(isinstance(t, Tensor) for t in leaves):
            raise TypeError(f"v: expected tensors of the shapes {shapes} in the structure of the outputs, got {type(v).__name__}")
        got = [tuple(t.shape) for t in leaves]
        single = got == shapes
        if not single and ([s[1:] for s in got] != shapes or len({s[:1] for s in got}) != 1):
            raise ValueError(f"v: expected shapes {shapes}, as the outputs for x2, or one more axis in front of each, got {got}")
        for t in leaves:
            if t.dtype != self.function.dtype or t.device != self.function.device:
                raise TypeError(
                    f"v: expected {self.function.dtype} on {self.function.device}, as the parameters, got {t.dtype} on {t.device}"
                )
        return single, pytree.tree_map(lambda t: t.detach()[None] if single else t.detach(), v)
