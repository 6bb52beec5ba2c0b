"""Cases of activations: `ACTIVATIONS` become fully connected nets in cases.py, `NETS` are images."""

import torch
from torch.nn import Flatten, Sequential

import torchtangents as tt

n = tt.nn


def wave(x):
    return torch.sin(2 * x) + x / 2


def bent(x):
    return (x - 0.5).abs() + x / 2


def square(v1, v2, q):
    return v1 * v2 + 2 * q * q


QUADRATURE = {  # what has no closed form
    "mish": n.Mish,
    "log-sigmoid": n.LogSigmoid,
    "tanhshrink": n.Tanhshrink,
    "elementwise-bent": lambda: n.Elementwise(bent, breakpoints=(0.5,)),
}
BY_TABLE = {  # one-dimensional integrals, which csrc takes from a table
    "selu": n.SELU,
    "celu": lambda: n.CELU(2.0),
    "elu-half": lambda: n.ELU(0.5),
}
CLOSED = {  # closed forms without a rule in csrc
    "exp": lambda: n.Exp(0.7, 0.4),
    "exp-normalized": lambda: n.ExpNormalized(1.3, -0.8),
    "gaussian": lambda: n.Gaussian(1.1, -0.6),
    "gaussian-wide": lambda: n.Gaussian(0.7, 0.002),
    "gabor": n.Gabor,
    "monomial-0": lambda: n.Monomial(0),
    "monomial-2": lambda: n.Monomial(2),
    "monomial-3": lambda: n.Monomial(3),
    "rectified-0": lambda: n.RectifiedMonomial(0),
    "rectified-2": lambda: n.RectifiedMonomial(2),
    "rectified-3": lambda: n.RectifiedMonomial(3),
    "polynomial": lambda: n.Polynomial([0.3, -0.5, 0.2, 0.1]),
    "hermite-3": lambda: n.Hermite(3),
    "elementwise-given": lambda: n.Elementwise(torch.square, nngp=square),
}
KINKS = {  # closed forms with kinks away from 0: no table is accurate
    "relu6": n.ReLU6,
    "hardswish": n.Hardswish,
    "hardsigmoid": n.Hardsigmoid,
    "softshrink": n.Softshrink,
    "hardtanh-uneven": lambda: n.Hardtanh(-0.3, 1.4),
}
ACTIVATIONS = {**QUADRATURE, **BY_TABLE, **CLOSED, **KINKS}
BY_QUADRATURE = {f"fc-{name}" for name in (*QUADRATURE, *BY_TABLE)}
BY_REFERENCE = {f"fc-{name}" for name in (*CLOSED, *KINKS, "elementwise-bent", "tanhshrink")}


def conv(i, **o):
    return n.Conv2d(i, 6, 3, padding=1, w_std=1.4, **o)


NETS = {
    "elementwise": lambda: Sequential(n.Linear(4, 32), n.Elementwise(wave), n.Linear(32, 1)),
    "softsign": lambda: Sequential(n.Linear(4, 32), n.Softsign(), n.Linear(32, 1)),
    "pooled-sign": lambda: Sequential(conv(2), n.Sign(), n.AvgPool2d(2, 1), conv(6), n.ReLU(), n.GlobalAvgPool(), n.Linear(6, 1)),
    "pooled-hardtanh": lambda: Sequential(
        conv(2), n.Hardtanh(), n.AvgPool2d(2), conv(6), n.ReLU6(), n.GlobalAvgPool(), n.Linear(6, 1)
    ),
    "pooled-selu": lambda: Sequential(conv(2), n.SELU(), n.AvgPool2d(2), conv(6), n.SELU(), Flatten(), n.Linear(24, 1)),
    "pooled-rectified": lambda: Sequential(
        conv(2), n.RectifiedMonomial(2), n.AvgPool2d(2), conv(6), n.Gabor(), Flatten(), n.Linear(24, 1)
    ),
    "normalized-hermite": lambda: Sequential(conv(2), n.LayerNorm((6, 5, 4)), n.Hermite(2), n.GlobalAvgPool(), n.Linear(6, 1)),
}
NETS |= {  # layers of sequences that no other case has
    "sequence-pads": lambda: Sequential(
        n.ZeroPad1d((1, 0)), n.Conv1d(2, 6, 3), n.ReLU(), n.CircularPad1d(1), n.AvgPool1d(2), n.Conv1d(6, 6, 2), n.Identity(),
        n.ReLU(), n.SumPool1d(2, 1), n.Flatten(), n.Linear(12, 1)),
    "sequence-sum": lambda: Sequential(n.Conv1d(2, 6, 3), n.SELU(), n.GlobalSumPool(), n.Linear(6, 1)),
}  # fmt: skip
BY_REFERENCE |= {"pooled-hardtanh", "pooled-rectified", "normalized-hermite"}
BY_QUADRATURE |= {"pooled-selu", "softsign", "elementwise", "sequence-sum"}


def pictures(count, dtype, seed):
    return torch.randn(count, 2, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def directions(count, dtype, seed):
    """Of one length, so that csrc needs a table of the angle alone."""
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x / x.norm(dim=1, keepdim=True)


def sequences(count, dtype, seed):
    return torch.randn(count, 2, 7, generator=torch.Generator().manual_seed(seed), dtype=dtype)


INPUTS = {
    name: directions if name in ("softsign", "elementwise") else sequences if "sequence" in name else pictures for name in NETS
}
