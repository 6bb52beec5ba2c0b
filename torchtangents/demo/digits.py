"""Four infinitely wide networks on images of handwritten digits, Bayesian and trained by gradient descent.

Targets are one-hot minus 0.1, outputs are Gaussian processes that share one kernel. The evidence of the training data
chooses the regulariser of each kernel, and (in closed form) the scale c of the outputs. Accuracy takes the largest mean.
The negative log likelihood is that of each test target under the normal law of its output, observation noise included,
averaged over outputs and images; the noise is c times the regulariser of the NNGP.
"""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from tqdm import tqdm

import torchtangents as tt

from .paint import BLUE, ORANGE, figure, save, saved

REGULARISERS = (1e-4, 1e-3, 1e-2, 1e-1)
COLUMNS = ("network", "trained", "n train", "n test", "diag_reg", "accuracy", "nll", "seconds")


class Row(NamedTuple):
    """One line of the table; `seconds` are those of the network's kernels, both at once, and of the prediction."""

    network: str
    trained: str
    n_train: int
    n_test: int
    diag_reg: float
    accuracy: float
    nll: float
    seconds: float


class Block(NamedTuple):
    """Kernels of one network: train-train, test-train, and the NNGP variances of the test images."""

    train: tt.Kernels
    cross: tt.Kernels
    prior: Tensor
    seconds: float


def conv(channels: int, stride: int = 1) -> nn.Module:
    """A 3x3 convolution that keeps the size, up to the stride."""
    return tt.nn.Conv2d(channels, 64, 3, stride, padding=1, w_std=math.sqrt(2))


class Residual(nn.Module):
    """A strided convolution, two residual blocks, global pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = conv(1, 2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.ReLU(), conv(64)) for _ in range(2))
        self.last = nn.Sequential(nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


def networks() -> dict[str, tuple[nn.Module, bool]]:
    """Each network, and whether its pooling (every pair of positions) asks for fewer images."""
    law = {"w_std": math.sqrt(2)}
    dense = (tt.nn.Linear(64, 512, **law), nn.ReLU(), tt.nn.Linear(512, 512, **law), nn.ReLU(), tt.nn.Linear(512, 10))
    pooled = (conv(1, 2), nn.ReLU(), conv(64), nn.ReLU(), tt.nn.GlobalAvgPool(), tt.nn.Linear(64, 10))
    return {
        "fully connected": (nn.Sequential(nn.Flatten(), *dense), False),
        "CNN, flattened": (nn.Sequential(conv(1), nn.ReLU(), conv(64), nn.ReLU(), nn.Flatten(), tt.nn.Linear(4096, 10)), False),
        "CNN, pooled": (nn.Sequential(*pooled), True),
        "residual, pooled": (Residual(), True),
    }


def data(n_train: int, n_test: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (N, 1, 8, 8) standardised by the training part, and labels (N,)."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, labels = x[order], labels[order]
    pool, test = x[:1000], slice(1000, 1000 + n_test)
    x = (x - pool[:n_train].mean()) / pool[:n_train].std()
    return x[:n_train], labels[:n_train], x[test], labels[test]


def block(net: nn.Module, x: Tensor, x_test: Tensor) -> Block:
    """All kernels that the predictions need."""
    start = time.perf_counter()
    train = tt.kernels(net, x, progress=False)
    cross = tt.kernels(net, x_test, x, progress=False)
    prior = tt.nngp(net, x_test, diagonal=True, progress=False)
    return Block(train, cross, prior, time.perf_counter() - start)


def scale(k: Tensor, y: Tensor, diag_reg: float) -> float:
    """The c that maximises the evidence of the kernel c k: y' Q^-1 y / y.size."""
    q = k.double() + diag_reg * k.diagonal().double().mean() * torch.eye(len(k))
    return (y.double() * torch.linalg.solve(q, y.double())).mean().item()


def choose(k: Tensor, y: Tensor) -> float:
    """The regulariser with the largest evidence, each at its best scale."""

    def evidence(diag_reg: float) -> float:
        scaled = scale(k, y, diag_reg) * k
        return tt.predict.Posterior(scaled, y, diag_reg=diag_reg).log_marginal_likelihood().item()

    return max(REGULARISERS, key=evidence)


def predict(k: Block, y: Tensor) -> dict[str, tuple[float, Tensor, Tensor]]:
    """For both kinds of training: regulariser, mean (M, O), and variance (M, 1) of a noisy target."""
    own = choose(k.train.nngp, y)
    c = scale(k.train.nngp, y, own)
    noise = c * own * k.train.nngp.diagonal().mean()
    mean, variance = tt.predict.Posterior(k.train.nngp, y, diag_reg=own).at(k.cross.nngp, k.prior)
    assert variance is not None
    driving = choose(k.train.ntk, y)
    # The same linear map of y as for a Gaussian process with the NTK, of networks that start with the NNGP's covariance.
    weights = tt.predict.Posterior(k.train.ntk, torch.eye(len(y)), diag_reg=driving).at(k.cross.ntk).mean  # (M, N)
    spread = k.prior + (weights * (weights @ k.train.nngp - 2 * k.cross.nngp)).sum(1)  # (M,)
    return {
        "Bayesian (nngp)": (own, mean, c * variance[:, None] + noise),
        "gradient descent (ntk)": (driving, weights @ y, c * spread.clamp(min=0)[:, None] + noise),
    }


def table(quick: bool = False) -> list[Row]:
    """Every network, Bayesian and trained."""
    rows = []
    bar = tqdm(networks().items(), desc="digits", unit="network", leave=False)
    for name, (net, pooled) in bar:
        bar.set_postfix_str(name)
        n, m = ((40, 40) if pooled else (200, 200)) if quick else ((300, 300) if pooled else (1000, 797))
        x, labels, x_test, labels_test = data(n, m)
        y, y_test = (nn.functional.one_hot(each, 10).float() - 0.1 for each in (labels, labels_test))
        k = block(net, x, x_test)
        start = time.perf_counter()
        laws = predict(k, y)
        seconds = k.seconds + time.perf_counter() - start
        for trained, (diag_reg, mean, variance) in laws.items():
            accuracy = (mean.argmax(1) == labels_test).float().mean().item()
            nll = 0.5 * ((mean - y_test).square() / variance + variance.log() + math.log(2 * math.pi)).mean().item()
            rows.append(Row(name, trained, n, m, diag_reg, accuracy, nll, seconds))
    return rows


def run(out: Path, quick: bool = False) -> None:
    """Print the table; write digits.csv and digits.png."""
    print("Digits: infinitely wide networks on 8x8 images")
    rows = table(quick)
    print(f"{COLUMNS[0]:<17}  {COLUMNS[1]:<23}" + "".join(f"{name:>10}" for name in COLUMNS[2:]))
    for r in rows:
        counts = f"{r.network:<17}  {r.trained:<23}{r.n_train:>10}{r.n_test:>10}"
        print(f"{counts}{r.diag_reg:>10g}{r.accuracy:>10.1%}{r.nll:>10.3f}{r.seconds:>10.1f}")
    with open(out / "digits.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([Row._fields, *rows])
    saved(out / "digits.csv")
    paint(rows, out / "digits.png")


def paint(rows: list[Row], path: Path) -> None:
    """Bars of accuracy and of negative log likelihood."""
    fig, axes = figure(2, (11, 3.8))
    names = list(dict.fromkeys(f"{r.network}\n{r.n_train} images" for r in rows))
    for ax, field, title in ((axes[0], "accuracy", "accuracy, %"), (axes[1], "nll", "negative log likelihood (lower is better)")):
        for i, (start, colour) in enumerate(((0, BLUE), (1, ORANGE))):
            values = [getattr(r, field) * (100 if field == "accuracy" else 1) for r in rows[start::2]]
            places = [p + 0.38 * i - 0.19 for p in range(len(names))]
            bars = ax.bar(places, values, 0.36, color=colour, alpha=0.85, label=rows[start].trained)
            ax.bar_label(bars, fmt="%.1f" if field == "accuracy" else "%.2f", fontsize=8.5, padding=2)
        ax.set_xticks(range(len(names)), names)
        ax.set_title(title, loc="left", fontsize=11)
    axes[0].set_ylim(0, 125)
    axes[1].axhline(0, color="#444444", lw=0.8)
    axes[0].legend(loc="upper center", ncols=2, frameon=False, fontsize=8.5)
    save(fig, path)
