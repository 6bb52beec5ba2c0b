"""Transformer blocks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import SelfAttention
from .law import Scalar
from .linear import Linear
from .normalization import LayerNorm
from .structure import Dropout

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


class TransformerEncoderLayer(torch.nn.TransformerEncoderLayer):
    """Self-attention and a feed-forward network, each with a residual and a LayerNorm, over (N, T, C).

    norm_first: x = x + attention(norm1(x)), x = x + linear2(f(linear1(norm2(x)))); otherwise x = norm1(x + attention(x)),
    x = norm2(x + linear2(f(linear1(x)))). Its kernel is that of the layers it is made of; x + branch(x) adds their kernels,
    since every branch ends in weights of its own.

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype:
            as in `torch.nn.TransformerEncoderLayer`, but dropout is 0 and batch_first True by default, the only order there is.
        scores, causal, key_std, value_std: as in `SelfAttention`, which has scores over d and tied weights.
        w_std, b_std, parameterization: of all three output layers and the hidden one, as in `Linear`.

    forward(src, src_mask=None, src_key_padding_mask=None): masks as in torch, True where a key may not be read.

    Raises:
        UnsupportedError: when a kernel is asked for, with dropout in training.
        ValueError: an unknown activation, batch_first=False.

    Vaswani et al. 2017 (arXiv 1706.03762); Xiong et al. 2020 (arXiv 2002.04745) for both orders of normalisation; Hron et al.
    2020 (arXiv 2006.10540) for the limit of attention.

    Example:
        >>> import torch, torchtangents as tt
        >>> block = tt.nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", norm_first=True)
        >>> net = torch.nn.Sequential(tt.nn.Linear(5, 8), block, torch.nn.Flatten(), tt.nn.Linear(24, 1))
        >>> tt.ntk(net, torch.randn(2, 3, 5)).shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.0,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = True,
        norm_first: bool = False,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        scores: str = "softmax",
        causal: bool = False,
        key_std: Scalar = 1.0,
        value_std: Scalar = 1.0,
        w_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        torch.nn.Module.__init__(self)  # torch's own would make and draw its weights first
        if not batch_first:
            raise ValueError("TransformerEncoderLayer: expected batch_first=True, inputs are (N, T, C)")
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"TransformerEncoderLayer: expected activation 'relu', 'gelu' or a function, got {activation!r}")
        made = {"device": device, "dtype": dtype}
        law = {"w_std": w_std, "b_std": b_std, "parameterization": parameterization}
        self.self_attn = SelfAttention(
            d_model, nhead, dropout, bias, scores=scores, causal=causal, key_std=key_std, value_std=value_std, **made, **law
        )  # type: ignore[assignment]
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made, **law)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made, **law)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **made)
        self.dropout, self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        self.norm_first = norm_first

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        def attention(x: Tensor) -> Tensor:
            return self.dropout1(self.self_attn(x, src_key_padding_mask, src_mask))

        def feed_forward(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            src = src + attention(self.norm1(src))
            return src + feed_forward(self.norm2(src))
        src = self.norm1(src + attention(src))
        return self.norm2(src + feed_forward(src))
