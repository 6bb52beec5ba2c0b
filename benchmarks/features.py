"""`python -m benchmarks.features`: feature maps against the exact NTK, in error and in time to train.

Error: of a network with three hidden ReLU layers (w_std = sqrt 2, b_std = 0.1) on 256 images of scikit-learn's digits (64
pixels, standardised), for 2^8 to 2^14 features and three seeds: the root mean square over entries of |phi phi^T - k| /
sqrt(k(x, x) k(x', x')), which should halve with four times the features.

Training: ridge regression (diag_reg = 1e-3) on 20,000 images made of the first 1,297 digits by shifts of up to one pixel and
noise, tested on the other 500 as they are. Exact: the kernel in float32, then a float64 Cholesky factorisation in place
(4.8 GB). Features: the fit, all random numbers included. Targets are one-hot minus 0.1; each is timed once, in float32.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from scipy.linalg import cho_solve
from sklearn.datasets import load_digits
from torch import Tensor, nn
from tqdm import tqdm

import torchtangents as tt
from torchtangents.scale.cholesky import factor_in_place
from torchtangents.scale.feature_maps import features, landmarks, nystrom

from . import machine

RESULTS = Path(__file__).parent / "results"
DIAG_REG = 1e-3
SOURCES = 1297  # images that training images are made of; the others are the test
VERBS = {"nngp": tt.nngp, "ntk": tt.ntk}


class Sizes(NamedTuple):
    """How much is computed."""

    dims: tuple[int, ...]
    seeds: int
    points: int  # of the comparison of kernels
    train: int
    fits: tuple[int, ...]  # features to train with


FULL = Sizes(tuple(2**i for i in range(8, 15)), 3, 256, 20_000, (512, 1024, 2048, 4096))
QUICK = Sizes((64, 256, 1024), 2, 64, 1500, (256, 512))


class Data(NamedTuple):
    """Images (N, 64), and labels (N,)."""

    x: Tensor
    labels: Tensor
    x_test: Tensor
    labels_test: Tensor


def digits(count: int) -> Data:
    """Shifted, noisy training images; the test images as they are; all in units of the sources."""
    found = load_digits()
    images, labels = torch.tensor(found.images, dtype=torch.float32), torch.tensor(found.target)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images), generator=generator)
    images, labels = images[order], labels[order]
    mean, std = images[:SOURCES].mean(), images[:SOURCES].std()
    which = torch.arange(count) % SOURCES
    padded = nn.functional.pad(images[which], (1, 1, 1, 1))  # (N, 10, 10)
    rows, columns = (torch.randint(3, (count, 1), generator=generator) + torch.arange(8) for _ in range(2))
    moved = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    noisy = moved + 0.5 * torch.randn(moved.shape, generator=generator)
    return Data(((noisy - mean) / std).flatten(1), labels[which], ((images[SOURCES:] - mean) / std).flatten(1), labels[SOURCES:])


def network() -> nn.Sequential:
    """Three hidden layers."""
    hidden = [layer for _ in range(3) for layer in (tt.nn.Linear(64, 64, w_std=math.sqrt(2)), nn.ReLU())]
    return nn.Sequential(*hidden, tt.nn.Linear(64, 1))


def errors(sizes: Sizes) -> list[dict[str, Any]]:
    """A row for each kernel, method and number of features."""
    x, net = digits(sizes.points).x, network()
    rows = []
    cases = [(kernel, method, dim) for kernel in VERBS for method in ("random", "sketch") for dim in sizes.dims]
    for kernel, method, dim in tqdm(cases, unit="map", desc="errors"):
        k = VERBS[kernel](net, x.double())
        scale = k.diagonal().sqrt()
        found = []
        for seed in range(sizes.seeds):
            phi = features(net, dim, kernel=kernel, method=method, generator=torch.Generator().manual_seed(seed))(x).double()
            found.append(((phi @ phi.T - k) / scale / scale[:, None]).square().mean().item())
        rows.append({"kernel": kernel, "method": method, "dim": dim, "error": math.sqrt(sum(found) / len(found))})
    return rows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what it gave."""
    start = time.perf_counter()
    out = work()
    return time.perf_counter() - start, out


def exact(data: Data, y: Tensor) -> dict[str, Any]:
    """The whole kernel and its factorisation."""
    net = network()
    kernel_seconds, k = timed(lambda: tt.ntk(net, data.x, progress=False))

    def solve() -> Tensor:
        matrix = k.double()
        matrix.diagonal().add_(DIAG_REG * matrix.diagonal().mean())
        factor = matrix.numpy().T  # in place: columns first
        assert factor_in_place(factor)
        return torch.from_numpy(cho_solve((factor, True), y.double().numpy(), check_finite=False))

    solve_seconds, alpha = timed(solve)
    mean = tt.ntk(net, data.x_test, data.x).double() @ alpha
    return _row("exact", data, mean, kernel_seconds + solve_seconds, kernel_seconds=kernel_seconds, solve_seconds=solve_seconds)


def approximate(data: Data, y: Tensor, method: str, dim: int) -> dict[str, Any]:
    """Features and their fit."""
    generator, net = torch.Generator().manual_seed(0), network()

    def fit() -> Any:
        if method == "nystrom":
            chosen = data.x[landmarks(net, data.x, dim, method="random", generator=generator)]
            return nystrom(net, chosen).fit(data.x, y, DIAG_REG, progress=False)
        return features(net, dim, method=method, generator=generator).fit(data.x, y, DIAG_REG, progress=False)

    seconds, ridge = timed(fit)
    return _row(method, data, ridge.predict(data.x_test), seconds, dim=dim)


def _row(method: str, data: Data, mean: Tensor, seconds: float, **more: Any) -> dict[str, Any]:
    accuracy = (mean.argmax(1) == data.labels_test).double().mean().item()
    return {"method": method, "points": len(data.x), **more, "seconds": seconds, "accuracy": accuracy, "_mean": mean.double()}


def training(sizes: Sizes) -> list[dict[str, Any]]:
    """Exact first, then every method and number of features, with the distance of their predictions from the exact ones."""
    data = digits(sizes.train)
    y = nn.functional.one_hot(data.labels, 10).float() - 0.1
    approximate(Data(*(part[:64] for part in data)), y[:64], "random", 64)  # libraries are loaded
    tt.ntk(network(), data.x[:64])
    rows = [exact(data, y)]
    for method in ("random", "sketch", "nystrom"):
        rows += [approximate(data, y, method, dim) for dim in tqdm(sizes.fits, unit="fit", desc=method)]
    wanted = rows[0]["_mean"]
    for row in rows:
        row["rms_from_exact"] = (row.pop("_mean") - wanted).square().mean().sqrt().item()
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: what trained, for how long, how well."""
    lines = ["| method | features | seconds | accuracy | rms distance from exact |", "|---|---|---|---|---|"]
    for row in rows:
        dim = f"{row['dim']:,}" if "dim" in row else f"all {row['points']:,} points"
        lines.append(f"| {row['method']} | {dim} | {row['seconds']:.1f} | {row['accuracy']:.3f} | {row['rms_from_exact']:.3g} |")
    return "\n".join(lines)


def draw(found: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Error against features, and accuracy against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for kernel in VERBS:
        for method, mark in (("random", "o-"), ("sketch", "s--")):
            rows = [r for r in found["errors"] if (r["kernel"], r["method"]) == (kernel, method)]
            left.loglog([r["dim"] for r in rows], [r["error"] for r in rows], mark, label=f"{kernel.upper()}, {method}")
    rows = found["errors"]
    dims = sorted({r["dim"] for r in rows})
    level = max(r["error"] for r in rows if r["dim"] == dims[0]) * 1.3
    left.loglog(dims, [level * math.sqrt(dims[0] / d) for d in dims], "k:", label="1 / sqrt(features)")
    left.set(title="three hidden ReLU layers", xlabel="features", ylabel="rms error / sqrt(k(x, x) k(x', x'))")
    for method in ("random", "sketch", "nystrom"):
        rows = [r for r in found["training"] if r["method"] == method]
        right.semilogx([r["seconds"] for r in rows], [r["accuracy"] for r in rows], "o-", label=method)
    whole = found["training"][0]
    right.semilogx(whole["seconds"], whole["accuracy"], "k*", markersize=12, label="exact")
    right.set(title=f"{whole['points']:,} images of digits", xlabel="seconds to train", ylabel="accuracy on 500 images")
    for panel in (left, right):
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Compute, print the table, write JSON and the picture."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="small sizes, to try it; written nowhere without --out")
    options.add_argument("--out", type=Path, help=f"a folder for features.json and features.png, by default {RESULTS}")
    given = options.parse_args(arguments)
    sizes, about = (QUICK if given.quick else FULL), machine.describe()
    found = {"errors": errors(sizes), "training": training(sizes)}
    print(table(found["training"]))
    folder = given.out or (None if given.quick else RESULTS)
    if folder is not None:
        record = {"machine": about, "versions": {"torch": torch.__version__}, "sizes": sizes._asdict(), **found}
        (folder / "features.json").write_text(json.dumps(record, indent=1) + "\n")
        draw(found, folder / "features.png")


if __name__ == "__main__":
    main()
