"""A stand-in for `torchtangents.kernels`, so that predictions are tested on exact kernels given here."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

collect_ignore = ["golden"]


class Kernels(NamedTuple):
    nngp: Tensor
    ntk: Tensor


class Table(nn.Module):
    """A network whose inputs (N, 1) are row numbers of given kernel matrices; it counts the kernels asked for."""

    def __init__(self, nngp: Tensor, ntk: Tensor):
        super().__init__()
        self.pair, self.calls = Kernels(nngp, ntk), 0

    def between(self, x1: Tensor, x2: Tensor) -> Kernels:
        i, j = x1[:, 0].long(), x2[:, 0].long()
        return Kernels(*(k[i][:, j] for k in self.pair))


class Relu(nn.Module):
    """The exact kernel of a fully connected ReLU network of three layers, on inputs (N, D)."""

    calls = 0

    def between(self, x1: Tensor, x2: Tensor) -> Kernels:
        dtype, x1, x2 = x1.dtype, x1.double(), x2.double()
        w, b = 1.5**2, 0.1**2
        q1, q2, q = ((u * v).sum(-1) / x1.shape[1] for u, v in ((x1, x1), (x2, x2), (x1[:, None], x2[None])))
        q1, q2, q = w * q1 + b, w * q2 + b, w * q + b
        ntk = q
        for _ in range(2):
            norm = (q1[:, None] * q2[None]).sqrt()
            angle = torch.acos((q / norm).clamp(-1, 1))
            slope = (torch.pi - angle) / (2 * torch.pi)
            q = w * norm * (angle.sin() / (2 * torch.pi) + slope * angle.cos()) + b
            q1, q2 = w * q1 / 2 + b, w * q2 / 2 + b
            ntk = q + w * slope * ntk
        return Kernels(q.to(dtype), ntk.to(dtype))


def _kernels(net, x1, x2=None, *, diagonal=False, tile=None, progress=None, backend="auto", devices=None):
    net.calls += 1
    first = x1[0] if isinstance(x1, tuple) else x1
    second = first if x2 is None else x2[0] if isinstance(x2, tuple) else x2
    pair = net.between(first, second)
    return Kernels(*(k.diagonal() for k in pair)) if diagonal else pair


@pytest.fixture
def fake_kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Replaces the module `torchtangents.kernels` by one that serves `Table` and `Relu`."""
    module = ModuleType("torchtangents.kernels")
    module.kernels, module.require_gaussian_output = _kernels, lambda net, x: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchtangents.kernels", module)
    return module


@pytest.fixture
def table() -> type[Table]:
    """The class of networks given by matrices."""
    return Table


class Problem(NamedTuple):
    """A regression problem in float64: 9 training and 4 test points in 3 dimensions, 2 outputs."""

    net: Relu
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    def to(self, dtype: torch.dtype) -> Problem:
        return Problem(self.net, *(part.to(dtype) for part in self[1:]))

    def ntk(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.net.between(x1, x2).ntk

    def nngp(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.net.between(x1, x2).nngp


@pytest.fixture
def problem() -> Problem:
    draw = torch.Generator().manual_seed(0)
    sizes = (9, 3), (9, 2), (4, 3), (4, 2)
    return Problem(Relu(), *(torch.randn(*size, generator=draw, dtype=torch.float64) for size in sizes))
