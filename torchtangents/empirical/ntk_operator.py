"""The NTK of a finite network as a linear operator; imported where one is made, because linear_operator takes long to import."""

from __future__ import annotations

import torch
from linear_operator import LinearOperator
from torch import Tensor
from torch.nn.functional import one_hot

from .axes import Axes
from .diagonal import pair_diagonal
from .ntk_vp import NTKVectorProduct


class NTKOperator(LinearOperator):
    """Theta(x1, x2) as a matrix (N1 K, N2 K) of which only products are computed; `tt.empirical.operator` makes it.

    Args:
        anchor: an empty tensor, whose dtype is that of vectors and results.
        product: the products v -> Theta(x1, x2) v.
        axes: the outputs that are kept and traced.

    Raises:
        ValueError: moved to another device than the network and its inputs.

    Example:
        >>> import torch, torchtangents as tt
        >>> k = tt.empirical.operator(torch.nn.Linear(2, 1, bias=False), torch.eye(2))
        >>> (k @ torch.tensor([1., 2.])).tolist(), k.add_jitter(1.).diagonal().tolist()
        ([1.0, 2.0], [2.0, 2.0])
    """

    def __init__(self, anchor: Tensor, *, product: NTKVectorProduct, axes: Axes):
        if anchor.device != product.function.device:
            raise ValueError(
                f"expected the operator on {product.function.device}, as its network and inputs, got {anchor.device}; make it "
                "anew from a network and inputs on that device"
            )
        super().__init__(anchor, product=product, axes=axes)
        self.product = product
        self.axes = axes

    def _size(self) -> torch.Size:
        return torch.Size([self.product.data1.size * self.axes.k, self.product.data2.size * self.axes.k])

    def _transpose_nonbatch(self) -> NTKOperator:
        if self.product.symmetric:
            return self
        return NTKOperator(self._args[0], product=self.product.transposed(), axes=self.axes)

    def _matmul(self, rhs: Tensor) -> Tensor:
        """Columns (*B, N2 K, R), or one vector."""
        if rhs.ndim == 1:
            return self._matmul(rhs[:, None])[:, 0]
        lead, count = rhs.shape[:-2], rhs.shape[-1]
        vectors = rhs.mT.reshape(-1, self.product.data2.size, self.axes.k).to(self.product.function.dtype)  # (R, N2, K)
        result = self._traced(vectors).reshape(*lead, count, -1).mT
        return result.to(self.dtype)

    def _traced(self, v: Tensor) -> Tensor:
        """1/C sum_c J_c J_c' v: (R, N1, K) from (R, N2, K)."""
        total = v.new_zeros(len(v), self.product.data1.size, self.axes.k)
        at_once = max(1, self.product.block_size // max(1, len(v)))
        for start in range(0, self.axes.c, at_once):
            channels = torch.arange(start, min(self.axes.c, start + at_once), device=v.device)
            unit = one_hot(channels, self.axes.c).to(v.dtype)  # (G, C)
            block = v[None, :, :, :, None] * unit[:, None, None, None, :]  # (G, R, N2, K, C)
            out = self.product.of_block(self.axes.merge(block.flatten(0, 1)))  # (G R, N1, *O)
            out = self.axes.split(out).unflatten(0, (len(channels), len(v)))  # (G, R, N1, K, C)
            total += torch.einsum("grnkc,gc->rnk", out, unit)
        return total / self.axes.c

    def _diagonal(self) -> Tensor:
        other = None if self.product.symmetric else self.product.data2
        return pair_diagonal(self.product.function.over(self.product.data1), other, self.axes).reshape(-1).to(self.dtype)

    def _get_indices(self, row_index: Tensor, col_index: Tensor, *batch_indices: Tensor) -> Tensor:
        """Single entries, of the whole columns (or rows) that they lie in."""
        rows, columns = torch.broadcast_tensors(row_index, col_index)
        needed, at = columns.unique(return_inverse=True)
        if len(rows.unique()) < len(needed):
            return self._transpose_nonbatch()._get_indices(columns, rows)
        unit = torch.zeros(self.shape[-1], len(needed), dtype=self.dtype, device=self.device)
        unit[needed, torch.arange(len(needed), device=self.device)] = 1
        return self._matmul(unit)[rows, at]
