"""Modules, most of them of plain torch.nn, with inputs and outputs of every kind, in evaluation mode and float64."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

import torchtangents as tt


class Residual(nn.Module):
    """Convolutions and BatchNorm around a shortcut."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.block = nn.Sequential(nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False))
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        return self.last((x + self.block(x)).mean((2, 3)))


class Language(nn.Module):
    """Tokens in by keyword, a dictionary out; the last layer is tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.embed, self.attention = nn.Embedding(7, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.mlp = nn.LayerNorm(8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 7, bias=False)
        self.head.weight = self.embed.weight
        self.position = nn.Parameter(torch.randn(4, 8))

    def forward(self, tokens, scale=1.0):
        x = self.embed(tokens) + self.position
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + F.gelu(self.mlp(self.norm(x)))
        return {"logits": scale * self.head(x), "pooled": x.mean(1)}


class Recurrent(nn.Module):
    """Batch-first LSTM; a tuple out."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        states, (last, _) = self.lstm(x)
        return self.head(states), last[0]


def settled(net):
    """In float64 and evaluation mode, with statistics that do something."""
    net = net.double().eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return net


def d(*shape):
    return torch.randn(*shape, dtype=torch.float64)


NETWORKS = {  # model, inputs
    "mlp": lambda: (settled(nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2))), d(5, 3)),
    "ours": lambda: (settled(nn.Sequential(tt.nn.Linear(3, 6, w_std=1.5), tt.nn.Erf(), tt.nn.Linear(6, 2, b_std=0.5))), d(5, 3)),
    "relu": lambda: (settled(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1))), d(5, 3)),
    "flat": lambda: (settled(nn.Sequential(nn.Linear(3, 6), nn.SiLU(), nn.Linear(6, 1), nn.Flatten(0))), d(5, 3)),
    "weight norm": lambda: (settled(nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Tanh(), weight_norm(nn.Linear(4, 2), dim=None))), d(5, 3)),
    "residual": lambda: (settled(Residual()), d(4, 2, 5, 5)),
    "language": lambda: (settled(Language()), {"tokens": torch.randint(7, (3, 4)), "scale": 0.5}),
    "instance": lambda: (settled(nn.Sequential(nn.Conv1d(2, 8, 3), nn.InstanceNorm1d(8, affine=True), nn.GLU(1), nn.Mish())), d(3, 2, 6)),
    "recurrent": lambda: (settled(Recurrent()), (d(3, 4, 3),)),
    "transformer": lambda: (settled(nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=True)), d(3, 4, 6)),
}  # fmt: skip


def outputs(net, x):
    """net at x, which is a tensor, a tuple of arguments or a dictionary of them."""
    return net(**x) if isinstance(x, dict) else net(*x) if isinstance(x, tuple) else net(x)
