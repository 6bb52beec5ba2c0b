"""Self-attention layers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..covariance.active import batch
from ..covariance.attention import SCORES, attention_weights
from ..covariance.refusal import placed, refuse
from ..covariance.state import State
from .law import Law, RandomLayer, Scalar
from .layer import Layer
from .position import PositionalEmbedding

SCALES = ("1/d", "1/sqrt(d)")


class SelfAttention(RandomLayer, Layer):
    """Self-attention over positions (N, T, C) with infinitely many heads.

    A head computes zeta(Q K^T / d) V with Q = K = x W_k (tied), V = x W_v, and W_o maps all heads to the output. In the
    limit its weights are a function of each input alone, G(x) = zeta(key_std^2 K(x, x)), and with b = b_std, w = w_std value_std

        K' = w^2 G K G'^T + b^2,   Theta' = 2 w^2 G K G'^T + w^2 G Theta G'^T + b^2.

    With scale="1/sqrt(d)", where Q and K have weights of their own and zeta is the identity, with w = w_std value_std key_std^2
    and c(p, q) the sum of K(k, l)^2 over keys,

        K' = w^2 c K + b^2,   Theta' = w^2 (c (Theta + 4 K) + 2 K sum_kl K(k, l) Theta(k, l)) + b^2.

    "standard" parametrisation: Theta counts each weight matrix by its number of inputs in place of its squared standard
    deviation, and the bias by 1. Derivatives by the tied keys vanish as 1 / key_dim.

    Args:
        embed_dim: number of channels C, in and out.
        num_heads: of the finite network; the kernel is that of infinitely many.
        dropout: of the attention weights in training, which has no kernel.
        bias: an output bias. Queries, keys and values have none.
        device, dtype: as in torch.nn.
        scores: zeta: "softmax", "relu", "abs" or "identity".
        scale: "1/d", or "1/sqrt(d)" (with scores="identity").
        tied: one weight for queries and keys; by default with "1/d" only.
        causal: position p reads positions up to p only.
        positions: a `PositionalEmbedding` that only queries and keys see, not values: K_s = K + std^2 R in place of K in the
            scores (with "1/sqrt(d)" in the queries outside the sum, too). For values to see it too, put it before this layer.
        key_dim, value_dim: of a head of the finite network; embed_dim // num_heads by default.
        w_std, value_std, key_std: standard deviations of the weights of the output, of the values, and of keys and queries,
            times the root of their number of inputs.
        b_std, parameterization: as in `Linear`.

    forward(input, key_padding_mask=None, attn_mask=None): input (N, T, C); key_padding_mask (N, T), True where a key is
    padding, and attn_mask (T, T), True where a query may not read a key, as in `torch.nn.MultiheadAttention`; or numbers, 0 and
    -inf. A query without any key gets the bias alone.

    Raises:
        UnsupportedError: when a kernel is asked for: dropout, "1/sqrt(d)" with other scores or tied weights, "1/d" with
            weights that are not tied, masks of other numbers.
        ValueError: sizes that do not fit, unknown options.

    Hron, Bahri, Sohl-Dickstein and Novak 2020 (arXiv 2006.10540).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(5, 16), tt.nn.SelfAttention(16, 4), torch.nn.Flatten(), tt.nn.Linear(48, 1))
        >>> tt.ntk(net, torch.randn(4, 3, 5)).shape
        torch.Size([4, 4])
    """

    channel_dim = -1
    batch_first, _qkv_same_embed_dim = True, False  # torch.nn.TransformerEncoder asks, and then takes no path of its own
    value_law: Law
    key_law: Law
    q_proj_weight: torch.nn.Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int = 1,
        dropout: float = 0.0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        scores: str = "softmax",
        scale: str = "1/d",
        tied: bool | None = None,
        causal: bool = False,
        positions: PositionalEmbedding | None = None,
        key_dim: int | None = None,
        value_dim: int | None = None,
        w_std: Scalar = 1.0,
        value_std: Scalar = 1.0,
        key_std: Scalar = 1.0,
        b_std: Scalar = 0.1,
        parameterization: str = "ntk",
    ):
        object.__setattr__(self, "law", Law(w_std, b_std, parameterization, "SelfAttention"))
        object.__setattr__(self, "value_law", Law(value_std, 0.0, parameterization, "SelfAttention", "value_std"))
        object.__setattr__(self, "key_law", Law(key_std, 0.0, parameterization, "SelfAttention", "key_std"))
        super().__init__()
        if scores not in SCORES or scale not in SCALES:
            raise ValueError(f"SelfAttention: expected scores in {SCORES} and scale in {SCALES}, got {scores!r} and {scale!r}")
        if num_heads < 1 or ((key_dim is None or value_dim is None) and embed_dim % num_heads):
            raise ValueError(
                f"SelfAttention: expected embed_dim={embed_dim} as a multiple of num_heads={num_heads}, or key_dim and value_dim"
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.scores, self.scale, self.causal = scores, scale, causal
        self.tied = scale == "1/d" if tied is None else tied
        self.key_dim, self.value_dim = key_dim or embed_dim // num_heads, value_dim or embed_dim // num_heads
        self.positions = positions
        self.key_inputs = embed_dim + (0 if positions is None or positions.mode == "add" else positions.shape[-1])
        made = {"device": device, "dtype": dtype}
        keys, values = (num_heads * self.key_dim, self.key_inputs), (num_heads * self.value_dim, embed_dim)
        self.k_proj_weight = torch.nn.Parameter(torch.empty(keys, **made))  # type: ignore[arg-type]
        self.register_parameter("q_proj_weight", None if self.tied else torch.nn.Parameter(torch.empty(keys, **made)))  # type: ignore[arg-type]
        self.v_proj_weight = torch.nn.Parameter(torch.empty(values, **made))  # type: ignore[arg-type]
        self.out_proj_weight = torch.nn.Parameter(torch.empty(values[::-1], **made))  # type: ignore[arg-type]
        self.register_parameter("out_proj_bias", torch.nn.Parameter(torch.empty(embed_dim, **made)) if bias else None)  # type: ignore[arg-type]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights and the bias from their laws."""
        for weight in (self.k_proj_weight, self.q_proj_weight):
            if weight is not None:
                self.key_law.draw(weight, None, self.key_inputs)
        self.value_law.draw(self.v_proj_weight, None, self.embed_dim)
        self.law.draw(self.out_proj_weight, self.out_proj_bias, self.num_heads * self.value_dim)

    @property
    def value_std(self) -> Scalar:
        """Standard deviation of the values' weights, times sqrt(embed_dim)."""
        return self.value_law.w_std

    @property
    def key_std(self) -> Scalar:
        """Standard deviation of the weights of keys and queries, times sqrt(embed_dim)."""
        return self.key_law.w_std

    def forward(self, input: Tensor, key_padding_mask: Tensor | None = None, attn_mask: Tensor | None = None) -> Tensor:
        keys, pairs = self._masks(input.shape[0], input.shape[1], key_padding_mask, attn_mask)

        def heads(x: Tensor, law: Law, weight: Tensor) -> Tensor:  # (N, H, T, d)
            weight, _ = law.effective(weight, None, weight.shape[1])
            return F.linear(x, weight).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        seen = input if self.positions is None else self.positions(input)
        k, v = heads(seen, self.key_law, self.k_proj_weight), heads(input, self.value_law, self.v_proj_weight)
        q = k if self.q_proj_weight is None else heads(seen, self.key_law, self.q_proj_weight)
        logits = q @ k.transpose(-1, -2) / (self.key_dim if self.scale == "1/d" else math.sqrt(self.key_dim))
        allowed = None if pairs is None else pairs.to(input.device)
        if keys is not None:
            allowed = keys[:, None, None] if allowed is None else keys[:, None, None] & allowed
        weights = attention_weights(logits, self.scores, allowed)
        weights = F.dropout(weights, self.dropout, self.training)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        return F.linear(mixed, *self.law.effective(self.out_proj_weight, self.out_proj_bias, mixed.shape[-1]))

    def _masks(self, n: int, t: int, padding: Tensor | None, unread: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """(N, T) and (T, T), True where a key may be read."""
        for name, mask, shape in (("key_padding_mask", padding, (n, t)), ("attn_mask", unread, (t, t))):
            if mask is None:
                continue
            if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == -torch.inf)).all()):
                refuse(f"expected {name} as booleans, or 0 and -inf, got {mask.dtype}; scores with added numbers have no rule")
            if tuple(mask.shape) != shape:
                raise ValueError(placed(f"expected {name} of shape {shape}, got {tuple(mask.shape)}"))
        keys, pairs = (None if mask is None else ~mask if mask.dtype == torch.bool else mask == 0 for mask in (padding, unread))
        if self.causal:
            past = torch.ones(t, t, dtype=torch.bool).tril()
            pairs = past if pairs is None else pairs & past.to(pairs.device)
        return keys, pairs

    def propagate(self, k: State, key_padding_mask: Tensor | None = None, attn_mask: Tensor | None = None) -> State:
        self._check()
        if k.shape[-1:] != (self.embed_dim,) or len(k.shape) != 2:
            raise ValueError(placed(f"expected (N, T, {self.embed_dim}), got {(-1, *k.shape)}"))
        keys, pairs = self._masks(batch(), k.shape[0], key_padding_mask, attn_mask)
        w2, v2, s2 = (law.w_std * law.w_std for law in (self.law, self.value_law, self.key_law))
        fan_in, heads, fan_in_keys = float(self.embed_dim), float(self.num_heads * self.value_dim), float(self.key_inputs)
        seen = k if self.positions is None else self.positions.propagate(k)
        if self.scale == "1/d":
            k = k.attend(seen, self.scores, s2, keys, pairs)
            product, grow = w2 * v2, (heads * v2 + fan_in * w2, 2 * w2 * v2)
        else:
            k = k.attend(seen, self.scores, None, keys, pairs)
            product = w2 * v2 * s2 * s2
            grow = (heads * v2 * s2 * s2 + fan_in * w2 * s2 * s2 + 2 * fan_in_keys * w2 * v2 * s2, 4 * product)
        bias = self.out_proj_bias is not None
        b2 = self.b_std * self.b_std if bias else 0.0
        ntk = self.parameterization == "ntk"
        return k.affine(product, b2, grow[ntk], b2 if ntk else float(bias), self.embed_dim)

    def _check(self) -> None:
        if self.dropout and self.training:
            refuse(f"dropout={self.dropout} of attention weights has no rule; expected dropout=0 and a Dropout layer after it")
        if self.scale == "1/d" and not self.tied:
            refuse(
                "with scale='1/d' and untied weights of queries and keys all scores vanish at infinite width; expected tied=True"
            )
        if self.scale == "1/sqrt(d)" and (self.tied or self.scores != "identity"):
            refuse(
                f"scale='1/sqrt(d)' with scores={self.scores!r}, tied={self.tied} has no closed form (the scores stay random); "
                "expected scale='1/d', or scores='identity' and weights that are not tied"
            )

    def extra_repr(self) -> str:
        options = f"scores={self.scores!r}, scale={self.scale!r}, causal={self.causal}"
        return f"{self.embed_dim}, num_heads={self.num_heads}, {options}, {self.law.describe()}"
