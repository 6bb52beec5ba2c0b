"""What float32 promises (docs/architecture.md, "Precision"), clause by clause, of Triton's kernels against float64 on the CPU.

The measure is |dk| / sqrt(k11 k22), the largest over both kernels and all pairs of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import Flatten, Module, Sequential

import torchtangents as tt

DIRECT, POOLED = 1e-5, 1e-4  # POOLED: after interior pooling, and for parallel unequal inputs without bias
FAMILY: dict[str, Callable[[], Module]] = {
    "ReLU": tt.nn.ReLU,
    "LeakyReLU": lambda: tt.nn.LeakyReLU(0.2),
    "Abs": tt.nn.Abs,
    "ABReLU": lambda: tt.nn.ABReLU(-0.5, 1.0),
}
SMOOTH: dict[str, Callable[[], Module]] = {"Erf": tt.nn.Erf, "GELU": tt.nn.GELU, "Sin": tt.nn.Sin}
OTHERS: dict[str, Callable[[], Module]] = {"Tanh": tt.nn.Tanh, "Sigmoid": tt.nn.Sigmoid, "SiLU": tt.nn.SiLU, "ELU": tt.nn.ELU}


@dataclass(frozen=True)
class Clause:
    """A network, its inputs in single precision, and what is promised."""

    name: str
    net: Callable[[], Module]
    x: Callable[[], Tensor]
    promise: float = DIRECT


def chain(function: Callable[[], Module], depth: int, b_std: float = 0.1, w_std: float = 2**0.5) -> Module:
    """A fully connected network of some hidden layers on ten inputs."""
    layers: list[Module] = []
    for i in range(depth):
        layers += [tt.nn.Linear(16 if i else 10, 16, w_std=w_std, b_std=b_std), function()]
    return Sequential(*layers, tt.nn.Linear(16, 1, b_std=b_std))


def cnn(depth: int) -> list[Module]:
    """Convolutions and ReLUs on three channels."""
    return [m for i in range(depth) for m in (tt.nn.Conv2d(8 if i else 3, 8, 3, padding=1, w_std=2**0.5), tt.nn.ReLU())]


def flattened() -> Module:
    """Twenty layers, equal positions."""
    return Sequential(*cnn(20), Flatten(), tt.nn.Linear(512, 1))


def averaged() -> Module:
    """Twenty layers, all positions."""
    return Sequential(*cnn(20), tt.nn.GlobalAvgPool(), tt.nn.Linear(8, 1))


def pooled() -> Module:
    """Pools between layers."""
    one, two = (tt.nn.Conv2d(8, 8, 3, padding=1, w_std=2**0.5) for _ in range(2))
    layers = (*cnn(3), tt.nn.AvgPool2d(2), one, tt.nn.ReLU(), tt.nn.AvgPool2d(2), two, tt.nn.ReLU())
    return Sequential(*layers, Flatten(), tt.nn.Linear(32, 1))


def vectors(scale: float = 1.0) -> Tensor:
    """Generic, equal, near-duplicate and opposite inputs."""
    x = torch.randn(4, 10, generator=torch.Generator().manual_seed(0))
    near = x[0].clone()
    near[3] = torch.nextafter(near[3], torch.tensor(9.0))
    return torch.cat([x, x[:1], near[None], x[1:2] * (1 + 1e-4 * x[3:]), -x[2:3]]) * scale


def parallel() -> Tensor:
    """One direction, several lengths."""
    return vectors()[:1] * torch.tensor([1.0, 2.0, 1.0001, 1e-3, 1.7])[:, None]


def pictures() -> Tensor:
    """Different images with flat ground, one twice, a near-duplicate, and noise."""
    draw = torch.Generator().manual_seed(1)
    x = torch.full((3, 3, 8, 8), 0.5)
    x[0, :, 2:4, 2:4], x[1, :, 5:7, 1:3] = torch.randn(2, 3, 2, 2, generator=draw)
    near = x[0].clone()
    near[0, 0, 0] += 1e-6
    return torch.cat([x, x[:1], near[None], torch.randn(1, 3, 8, 8, generator=draw)])


def clauses() -> Iterator[Clause]:
    """Every clause of the promise."""
    for name, function in FAMILY.items():
        yield Clause(f"{name}, depth 20: generic, equal, near-duplicate, opposite", partial(chain, function, 20), vectors)
    for scale in (1e-15, 1e15):
        x = partial(vectors, scale)
        for b_std in (0.0, 0.1):
            yield Clause(f"inputs of {scale:g}, b_std {b_std}", partial(chain, tt.nn.ReLU, 20, b_std), x)
        yield Clause(f"depth 100, inputs of {scale:g}", partial(chain, tt.nn.ReLU, 100, 0.0), x)
    yield Clause("depth 100", partial(chain, tt.nn.ReLU, 100), vectors)
    yield Clause("parallel, unequal, no bias", partial(chain, tt.nn.ReLU, 20, 0.0), parallel, POOLED)
    yield Clause("flat ground, depth 20, Flatten", flattened, pictures)
    yield Clause("flat ground, depth 20, global pooling", averaged, pictures)
    yield Clause("interior pooling", pooled, pictures, POOLED)
    for name, function in SMOOTH.items():
        yield Clause(f"{name}, depth 20", partial(chain, function, 20, w_std=1.4), vectors)
    for name, function in OTHERS.items():
        yield Clause(f"{name}, depth 3", partial(chain, function, 3), vectors)


def kept(clause: Clause, device: torch.device) -> dict[str, float | bool]:
    """The error of a clause, and whether values and gradients are finite also at zero."""
    net, x = clause.net(), clause.x()
    mine = tt.kernels(net, x.to(device), backend="triton", progress=False)
    wide = x.double()
    exact, own = tt.kernels(net, wide, progress=False), tt.kernels(net, wide, diagonal=True)
    worst = 0.0
    for a, b, v in zip(mine, exact, own, strict=True):
        found = ((a.cpu().double() - b) / v.sqrt()[:, None] / v.sqrt()[None]).abs()
        worst = max(worst, float(found.nan_to_num(nan=float("inf")).max()))
    special = torch.cat([x[:2], x[:1], 0 * x[:1]]).to(device).requires_grad_()
    both = tt.kernels(net, special, backend="triton", progress=False)
    slope = torch.autograd.grad(both.nngp.sum() + both.ntk.sum(), special)[0]
    finite = all(bool(t.isfinite().all()) for t in (*both, slope))
    return {"error": worst, "promised": clause.promise, "finite": finite, "agrees": worst < clause.promise and finite}


def promised(device: torch.device) -> dict[str, dict[str, float | bool]]:
    """All clauses."""
    return {clause.name: kept(clause, device) for clause in clauses()}
