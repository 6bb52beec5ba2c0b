"""Outputs of random networks become Gaussian as their layers widen."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import torch
from scipy.stats import kstest
from torch import Tensor, nn
from tqdm import tqdm

import torchtangents as tt

from .finite import draw, outputs
from .paint import BLUE, ORANGE, figure, save

WIDTHS = (4, 32, 512)


def network(width: int) -> nn.Module:
    """Three hidden layers of ReLU."""
    law = {"w_std": math.sqrt(2), "b_std": 0.1}
    sizes = (8, width, width, width)
    hidden = [m for a, b in itertools.pairwise(sizes) for m in (tt.nn.Linear(a, b, **law), nn.ReLU())]
    return nn.Sequential(*hidden, tt.nn.Linear(width, 1, **law))


def sample(width: int, draws: int, x: Tensor) -> Tensor:
    """The output at one input (1, 8) over `draws` random networks: (draws,)."""
    torch.manual_seed(width)
    net = network(width)
    chunk = max(16, min(draws, 16_000_000 // width**2))
    with torch.no_grad(), tqdm(total=draws, desc=f"drawing networks of width {width}", unit="net", leave=False) as bar:
        parts = []
        for start in range(0, draws, chunk):
            size = min(chunk, draws - start)
            parts.append(outputs(net, draw(net, size), x)[:, 0])
            bar.update(size)
    return torch.cat(parts)


def run(out: Path, quick: bool = False) -> None:
    """Print each width's distance from the normal law of infinite width; write gaussian.png."""
    print("Gaussian: one output over random networks, against N(0, NNGP)")
    x = torch.linspace(-1, 1, 8)[None]
    std = tt.nngp(network(1), x).sqrt().item()
    fig, axes = figure(len(WIDTHS), (12.6, 3.4))
    ends = (-4.5 * std, 4.5 * std)
    grid = torch.linspace(*ends, 300)
    density = torch.exp(-0.5 * (grid / std) ** 2) / (std * math.sqrt(2 * math.pi))
    print(f"{'width':>7}  {'draws':>7}  {'std / infinite':>14}  {'KS distance':>11}")
    for ax, width in zip(axes, WIDTHS, strict=True):
        draws = (4_000 if width < 100 else 1_000) if quick else (20_000 if width < 100 else 4_000)
        values = sample(width, draws, x)
        distance = float(kstest(values.numpy(), "norm", args=(0, std)).statistic)
        print(f"{width:>7}  {draws:>7}  {values.std().item() / std:>14.3f}  {distance:>11.4f}")
        ax.hist(values.numpy(), bins=80, range=ends, density=True, color=BLUE, alpha=0.55, label="random networks")
        ax.plot(grid, density, color=ORANGE, lw=2.4, label="infinite width: N(0, NNGP)")
        ax.set(xlabel="output", yticks=[])
        ax.set_title(f"width {width}: distance {distance:.3f}", loc="left", fontsize=11)
    axes[-1].set_ylim(0, 1.5 * density.max().item())
    axes[-1].legend(loc="upper left", frameon=False, fontsize=8.5)
    save(fig, out / "gaussian.png")
