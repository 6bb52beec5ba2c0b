"""Attention, positional embeddings and masks against neural-tangents 0.6.5 (tests/golden/make_attention.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt

n = tt.nn
GOLDEN = np.load(Path(__file__).parent / "golden" / "attention.npz")
OPTIONS = {"key_std": 0.9, "value_std": 1.1, "w_std": 1.3, "b_std": 0.2}


def stored(key):
    return torch.from_numpy(GOLDEN[key])


def dense(inputs=8, outputs=8):
    return n.Linear(inputs, outputs, w_std=1.3, b_std=0.2)


def attention(width=8, **options):
    return n.SelfAttention(width, 2, **OPTIONS, **options)


def after(*layers, width=8):
    return Sequential(dense(4), *layers, n.ReLU(), Flatten(), dense(5 * width, 1))


def position(**options):
    return n.PositionalEmbedding((5, 8), 0.7, **options)


class Pooled(torch.nn.Module):
    """(N, T, C) through convolutions or attention, then the mean over what there is, or Flatten."""

    def __init__(self, layers, channels_first, flat=False):
        super().__init__()
        self.layers, self.first, self.flat = layers, channels_first, flat
        self.read = dense(40 if flat else 8, 1)

    def forward(self, x):
        x = self.layers(x.transpose(1, 2)).transpose(1, 2) if self.first else self.layers(x)
        return self.read(x.flatten(1) if self.flat else x.mean(1))


def convolutions(*last):
    first, second = (n.Conv1d(i, 8, 3, padding=1, w_std=1.3, b_std=0.2) for i in (4, 8))
    return Sequential(first, n.ReLU(), second, *last)


ROOT = {"scores": "identity", "scale": "1/sqrt(d)"}
PLAIN = {
    "softmax": lambda: after(attention()),
    "relu": lambda: after(attention(scores="relu")),
    "abs": lambda: after(attention(scores="abs")),
    "identity": lambda: after(attention(scores="identity")),
    "root": lambda: after(attention(**ROOT)),
    "first": lambda: Sequential(attention(4), n.ReLU(), Flatten(), dense(20, 1)),
    "twice": lambda: after(
        n.LayerNorm(8, 1e-12, elementwise_affine=False), attention(), dense(), n.Erf(), dense(), attention(scores="relu")
    ),
    "position-sum": lambda: after(position(), attention()),
    "position-cat": lambda: after(n.PositionalEmbedding((5, 4), 0.7, mode="cat"), attention(12), width=12),
    "position-decay": lambda: after(position(decay=lambda d: torch.exp(-0.5 * d * d)), attention()),
    "keys-sum": lambda: after(attention(positions=position(decay=lambda d: torch.exp(-0.5 * d * d)))),
    "keys-cat": lambda: after(attention(positions=n.PositionalEmbedding((5, 4), 0.7, mode="cat"), scores="relu")),
    "keys-root": lambda: after(attention(positions=position(), **ROOT)),
    "position-root": lambda: after(position(), attention(**ROOT)),
}
MASKS = {
    "masked-softmax": lambda: Pooled(Sequential(dense(4), attention(), n.ReLU()), False),
    "masked-relu": lambda: Pooled(Sequential(dense(4), attention(scores="relu"), n.ReLU()), False),
    "masked-conv": lambda: Pooled(convolutions(n.ReLU()), True),
    "masked-flatten": lambda: Pooled(convolutions(), True, True),
}


@pytest.mark.parametrize("name", [*PLAIN, *MASKS])
def test_kernels_match(name):
    net, mask = (PLAIN | MASKS)[name](), stored("mask") if name in MASKS else None
    k = tt.kernels(net, stored("x1"), stored("x2"), mask1=mask)
    for part in ("nngp", "ntk"):
        torch.testing.assert_close(getattr(k, part), stored(f"{name}/{part}"), rtol=1e-11, atol=1e-13)
