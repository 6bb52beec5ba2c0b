"""Empirical kernels against neural-tangents 0.6.5 (golden/make.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from torchtangents import empirical

GOLDEN = dict(np.load(Path(__file__).parent / "golden" / "kernels.npz"))
EXACT = 1e-10  # relative to the largest entry, float64


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(2, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.conv(x)).transpose(1, 2))


NETS = {
    "mlp": lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 4, 2, 2, groups=2), nn.Flatten(), nn.Linear(16, 3)
    ),
    "positions": Positions,
}
KEYS = sorted({k.rsplit("/", 1)[0] for k in GOLDEN if k.endswith("/ntk")})


def axes(text):
    return tuple(int(a) for a in text.split(",") if a)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("algorithm", ["structured", "jacobian", "vector_products"])
def test_as_neural_tangents(key, algorithm):
    name, trace, diagonal = key.split("/")
    net = NETS[name]().double()
    net.load_state_dict({k.rsplit("/", 1)[1]: torch.tensor(v) for k, v in GOLDEN.items() if k.startswith(f"{name}/weights/")})
    x1, x2 = (torch.tensor(GOLDEN[f"{name}/{x}"]) for x in ("x1", "x2"))
    options = {"trace_axes": axes(trace), "diagonal_axes": axes(diagonal)}
    for found, wanted in (
        (empirical.ntk(net, x1, x2, implementation=algorithm, **options), "ntk"),
        (empirical.ntk(net, x1, implementation=algorithm, **options), "ntk-same"),
        (empirical.nngp(net, x1, x2, **options), "nngp"),
    ):
        golden = torch.tensor(GOLDEN[f"{key}/{wanted}"])
        assert found.shape == golden.shape
        assert (found - golden).abs().max() <= EXACT * golden.abs().max()


def test_every_net_has_golden_values():
    assert {k.split("/")[0] for k in KEYS} == set(NETS)
    assert len(KEYS) >= 19
