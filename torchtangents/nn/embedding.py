"""Embeddings of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.layout import CHANNEL
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from ..covariance.tokens import Tokens
from .law import Law, RandomLayer, Scalar, plain
from .layer import Layer


class Embedding(RandomLayer, Layer, torch.nn.Embedding):
    """A Gaussian vector for each token: integers (N, *positions) -> (N, *positions, embedding_dim).

    K(p, q) = w_std^2 [a(p) = b(q)] with Theta = K ("ntk"), or Theta = [a(p) = b(q)] ("standard"); both are 0 at padding_idx.
    The kernel has the dtype of the layer's weights.

    Args:
        num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, device, dtype: as in
            `torch.nn.Embedding`.
        w_std: standard deviation of every number; float or 0-dim tensor.
        parameterization: "ntk": weights are N(0, 1) and multiplied by w_std; "standard": weights are N(0, w_std^2).

    Raises:
        UnsupportedError: max_norm, or tokens that are outputs of another layer, when a kernel is asked for.
        TypeError, ValueError: tokens that are not integers below num_embeddings.

    Yang 2019 (arXiv 1910.12478).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.nngp(tt.nn.Embedding(10, 4, w_std=2.), torch.tensor([[1, 2]]))[0, 0]
        tensor([[4., 0.],
                [0., 4.]])
    """

    takes_indices = True

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        w_std: Scalar = 1.0,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, 0.0, parameterization, "Embedding"))
        torch.nn.Embedding.__init__(
            self, num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            device=device, dtype=dtype,
        )  # fmt: skip

    def reset_parameters(self) -> None:
        """Draw the vectors from their law; that of padding_idx is 0."""
        self.law.draw(self.weight, None, 1)
        if self.padding_idx is not None:
            with torch.no_grad():
                self.weight[self.padding_idx].fill_(0)

    def forward(self, input: Tensor) -> Tensor:
        weight, _ = self.law.effective(self.weight, None, 1)
        rate = self.scale_grad_by_freq, self.sparse
        return F.embedding(input, weight, self.padding_idx, self.max_norm, self.norm_type, *rate)

    def propagate(self, tokens: Tensor) -> State:  # type: ignore[override]
        if self.max_norm is not None:
            refuse(f"max_norm={self.max_norm} rescales the vectors as they are read, which has no rule; expected max_norm=None")
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.num_embeddings:
            lowest, highest = int(tokens.min()), int(tokens.max())
            raise ValueError(placed(f"expected tokens from 0 to {self.num_embeddings - 1}, got {lowest} to {highest}"))
        power = self.w_std * self.w_std
        shift = power if self.parameterization == "ntk" else 1.0
        node = Tokens(tokens, power, shift, self.padding_idx, self.weight.dtype)
        return State.of(node, self.embedding_dim, (*((a,) for a in range(tokens.ndim - 1)), (CHANNEL,)))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, w_std={plain(self.w_std):g}, parameterization={self.parameterization!r}"
