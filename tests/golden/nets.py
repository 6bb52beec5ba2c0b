"""The networks of make.py in torchtangents, by the same names."""

import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt

from ..cases import Residual

NTK = {"w_std": 1.3, "b_std": 0.2}
STANDARD = {**NTK, "parameterization": "standard"}


class TokenDense(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dense, self.out = conv(), dense(8, 8), dense(8)

    def forward(self, x):
        x = self.dense(torch.relu(self.conv(x)).permute(0, 2, 3, 1))
        return self.out(torch.relu(x).mean((1, 2)))


class ChannelNorm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = tt.nn.LayerNorm(8, eps=1e-12, elementwise_affine=False)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def dense(inputs, outputs=1, **options):
    return tt.nn.Linear(inputs, outputs, **{**NTK, **options})


def conv(inputs=3, outputs=8, kernel_size=3, padding=1, **options):
    return tt.nn.Conv2d(inputs, outputs, kernel_size, padding=padding, **{**NTK, **options})


def mid(**options):
    return conv(8, **options)


def fc(act, depth=2, **options):
    layers, width = [], 7
    for _ in range(depth):
        layers += [dense(width, 64, **options), act()]
        width = 64
    return Sequential(*layers, dense(width, **options))


def strided(inputs):
    """JAX pads a strided SAME convolution of 6 x 5 by (0, 1) and (1, 1)."""
    return Sequential(tt.nn.ZeroPad2d((1, 1, 0, 1)), conv(inputs, padding=0, stride=2))


R, GAP, n = tt.nn.ReLU, tt.nn.GlobalAvgPool, tt.nn
VECTORS = {
    "fc-relu": lambda: fc(R),
    "fc-leaky": lambda: fc(lambda: n.LeakyReLU(0.2)),
    "fc-abs": lambda: fc(n.Abs),
    "fc-abrelu": lambda: fc(lambda: n.ABReLU(-0.3, 1.2)),
    "fc-erf": lambda: fc(lambda: n.Erf(1.2, 0.7, 0.3)),
    "fc-sigmoid-like": lambda: fc(n.SigmoidLike),
    "fc-gelu": lambda: fc(n.GELU),
    "fc-sin": lambda: fc(lambda: n.Sin(1.1, 0.8, 0.3)),
    "fc-cos": lambda: fc(lambda: n.Cos(0.9, 1.1, 0.2)),
    "fc-rbf": lambda: fc(lambda: n.RBF(0.6)),
    "fc-sign": lambda: fc(n.Sign),
    "fc-1": lambda: dense(7),
    "fc-no-bias": lambda: fc(R, 1, bias=False),
    "fc-10": lambda: fc(R, 10),
    "fc-standard": lambda: Sequential(dense(7, 64, **STANDARD), R(), dense(64, 48, **STANDARD), R(), dense(48, **STANDARD)),
    "fc-layernorm": lambda: Sequential(dense(7, 64), n.LayerNorm(64, 1e-12, False), R(), dense(64)),
    "fc-layernorm-after": lambda: Sequential(dense(7, 64), R(), dense(64, 64), n.LayerNorm(64, 1e-12, False), n.Erf(), dense(64)),
    "fc-residual": lambda: Sequential(
        dense(7, 64),
        Residual(Sequential(R(), dense(64, 64))),
        Residual(Sequential(R(), dense(64, 64), R(), dense(64, 64))),
        dense(64),
    ),
    "fc-dropout-test": lambda: Sequential(dense(7, 64), R(), n.Dropout(0.4), dense(64)).eval(),
}


def seq(inputs, kernel_size, padding):
    return tt.nn.Conv1d(inputs, 8, kernel_size, padding=padding, **NTK)


SEQUENCES = {
    "seq-avg": lambda: Sequential(seq(3, 3, 1), R(), n.AvgPool1d(2), seq(8, 2, 0), R(), Flatten(), dense(24)),
    "seq-gap": lambda: Sequential(seq(3, 3, "same"), n.GELU(), GAP(), dense(8)),
}
CIRCULAR = {"padding_mode": "circular"}
IMAGES = {
    "cnn-1": lambda: Sequential(conv(), R(), Flatten(), dense(240)),
    "cnn-3-valid": lambda: Sequential(
        conv(padding=0), R(), mid(kernel_size=2, padding=0), R(), mid(kernel_size=(2, 1), padding=0), R(), Flatten(), dense(32)
    ),
    "cnn-circular": lambda: Sequential(conv(**CIRCULAR), R(), mid(**CIRCULAR), R(), Flatten(), dense(240)),
    "cnn-kernel-32": lambda: Sequential(conv(kernel_size=(3, 2), padding=0), R(), mid(), R(), GAP(), dense(8)),
    "cnn-stride-valid": lambda: Sequential(
        conv(padding="valid", stride=2), R(), mid(kernel_size=2, padding=0), R(), Flatten(), dense(8)
    ),
    "cnn-stride-same": lambda: Sequential(strided(3), R(), mid(), R(), GAP(), dense(8)),
    "cnn-avg-flatten": lambda: Sequential(conv(), R(), n.AvgPool2d(2), mid(), R(), Flatten(), dense(48)),
    "cnn-overlap": lambda: Sequential(conv(), R(), n.AvgPool2d(3, 2), mid(), R(), Flatten(), dense(32)),
    "cnn-sum": lambda: Sequential(conv(), R(), n.SumPool2d(2), mid(), R(), GAP(), dense(8)),
    "cnn-gap": lambda: Sequential(conv(), R(), mid(padding="same"), R(), GAP(), dense(8)),
    "cnn-gsp": lambda: Sequential(conv(), R(), mid(), R(), n.GlobalSumPool(), dense(8)),
    "cnn-pool-relu": lambda: Sequential(conv(), n.AvgPool2d(2, 1), R(), mid(), R(), GAP(), dense(8)),
    "cnn-standard": lambda: Sequential(conv(**STANDARD), R(), mid(outputs=12, **STANDARD), R(), GAP(), dense(12, **STANDARD)),
    "cnn-standard-flat": lambda: Sequential(
        conv(**STANDARD), R(), mid(outputs=12, **STANDARD), R(), Flatten(), dense(360, **STANDARD)
    ),
    "cnn-residual": lambda: Sequential(conv(), Residual(Sequential(R(), mid(), R(), mid())), R(), Flatten(), dense(240)),
    "wide-resnet": lambda: Sequential(
        conv(),
        Residual(Sequential(R(), strided(8), R(), mid()), strided(8)),
        Residual(Sequential(R(), mid(), R(), mid())),
        GAP(),
        dense(8),
    ),
    "cnn-layernorm": lambda: Sequential(conv(), ChannelNorm(), R(), mid(), R(), Flatten(), dense(240)),
    "cnn-layernorm-all": lambda: Sequential(conv(), n.LayerNorm((8, 6, 5), 1e-12, False), R(), mid(), R(), GAP(), dense(8)),
    "cnn-erf-pool": lambda: Sequential(conv(), n.Erf(), n.AvgPool2d(2), mid(), n.Erf(), GAP(), dense(8)),
    "cnn-gelu-circular": lambda: Sequential(conv(**CIRCULAR), n.GELU(), mid(**CIRCULAR), n.GELU(), Flatten(), dense(240)),
    "cnn-sin": lambda: Sequential(conv(), n.Sin(1.0, 1.0, 0.3), mid(), n.Sin(1.0, 1.0, 0.3), GAP(), dense(8)),
    "cnn-positions": lambda: Sequential(conv(), R(), mid(padding=0)),
    "cnn-token-dense": TokenDense,
}
NETS = {"vectors": VECTORS, "sequences": SEQUENCES, "images": IMAGES}
CASES = [(kind, name) for kind, nets in NETS.items() for name in nets]


def build(kind: str, name: str) -> torch.nn.Module:
    """The network of one case."""
    return NETS[kind][name]()
