"""`python -m benchmarks.diabetes`: regression on scikit-learn's diabetes, our kernels against GPyTorch's.

Ten random splits, 353 patients to train and 89 to test, seeds 0 to 9; inputs and targets are standardised by the training
part; float64. Every model is a Gaussian process of mean zero whose hyperparameters and noise maximise the marginal likelihood
of the training part by L-BFGS from one start: GPyTorch's defaults, or w_std = 1 and b_std = 0.5 in all layers and diag_reg =
0.1. Reported for the test part, in units of standardised targets: log likelihood a patient (noise included) and root mean
square error, mean and standard error over splits. "The evidence chooses" takes, split by split, the model with the largest
evidence of the training part.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import gpytorch
import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from tqdm import tqdm

import torchtangents as tt

from . import machine

TEST = 89
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"ReLU": nn.ReLU, "Erf": tt.nn.Erf, "GELU": nn.GELU}
DEPTHS = (1, 3)
RESULTS = Path(__file__).parent / "results" / "diabetes.json"


class Split(NamedTuple):
    """Standardised inputs (N, 10) and targets (N,)."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


class Score(NamedTuple):
    """Of the test part: log likelihood a patient and RMSE; of the training part: evidence a patient."""

    log_likelihood: float
    rmse: float
    evidence: float


def split(seed: int) -> Split:
    """The patients in random order, cut in two."""
    data = load_diabetes(scaled=False)
    x, y = torch.tensor(data.data), torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    train, test = order[TEST:], order[:TEST]
    x = (x - x[train].mean(0)) / x[train].std(0)
    y = (y - y[train].mean()) / y[train].std()
    return Split(x[train], y[train], x[test], y[test])


def score(mean: Tensor, variance: Tensor, y: Tensor, evidence: float) -> Score:
    """Of predictive means and variances, noise included."""
    density = -0.5 * (math.log(2 * math.pi) + variance.log() + (y - mean).square() / variance)
    return Score(density.mean().item(), (y - mean).square().mean().sqrt().item(), evidence)


class Process(gpytorch.models.ExactGP):
    """Mean zero, and a kernel with an output scale."""

    def __init__(self, x: Tensor, y: Tensor, kernel: Kernel):
        super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module, self.covar_module = gpytorch.means.ZeroMean(), ScaleKernel(kernel)

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def gpytorch_score(data: Split, kernel: Kernel) -> Score:
    """Of a kernel of GPyTorch, fitted by torch's L-BFGS."""
    model = Process(data.x, data.y, kernel).double()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    search = torch.optim.LBFGS(model.parameters(), max_iter=300, tolerance_change=1e-10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = -objective(model(data.x), data.y)
        value.backward()
        return value

    search.step(loss)
    evidence = -loss().item()
    model.eval()
    with torch.no_grad():
        found = model.likelihood(model(data.x_test))
        return score(found.mean, found.variance, data.y_test, evidence)


def network(activation: str, depth: int) -> nn.Module:
    """`depth` hidden layers."""
    law = {"w_std": 1.0, "b_std": 0.5}
    hidden = [layer for i in range(depth) for layer in (tt.nn.Linear(8 if i else 10, 8, **law), ACTIVATIONS[activation]())]
    return nn.Sequential(*hidden, tt.nn.Linear(8, 1, **law))


def our_score(data: Split, activation: str, depth: int, kernel: str) -> Score:
    """Of a network of infinite width, fitted by `tt.predict.fit`."""
    found = tt.predict.fit(network(activation, depth), data.x, data.y, kernel=kernel, diag_reg=0.1, progress=False)
    mean, variance = found.ensemble(progress=False).at(None, data.x_test, covariance="diagonal")
    assert variance is not None
    return score(mean, variance + found.noise, data.y_test, found.history[-1])


def models() -> dict[str, Callable[[Split], Score]]:
    """By name; all are fitted and scored on one split."""
    out: dict[str, Callable[[Split], Score]] = {}
    for ard in (None, 10):
        suffix = ", ARD" if ard else ""
        out[f"GPyTorch RBF{suffix}"] = lambda data, ard=ard: gpytorch_score(data, RBFKernel(ard_num_dims=ard))
        out[f"GPyTorch Matern-5/2{suffix}"] = lambda data, ard=ard: gpytorch_score(data, MaternKernel(2.5, ard_num_dims=ard))
    for kernel in ("nngp", "ntk"):
        for activation in ACTIVATIONS:
            for depth in DEPTHS:
                name = f"{kernel.upper()}, {activation}, {depth} hidden layer{'s' * (depth > 1)}"
                out[name] = lambda data, a=activation, d=depth, k=kernel: our_score(data, a, d, k)
    return out


def chosen(scores: dict[str, list[Score]], prefix: tuple[str, ...]) -> list[Score]:
    """Split by split that of the largest evidence."""
    rows = [found for name, found in scores.items() if name.startswith(prefix)]
    return [max(column, key=lambda s: s.evidence) for column in zip(*rows, strict=True)]


def table(scores: dict[str, list[Score]]) -> str:
    """Markdown: mean and standard error."""
    lines = ["| model | test log likelihood | RMSE | evidence a patient |", "|---|---|---|---|"]
    for name, found in scores.items():
        columns = torch.tensor(found, dtype=torch.float64)  # (splits, 3)
        error = columns.std(0) / math.sqrt(len(found))
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(columns.mean(0).tolist(), error.tolist(), strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Fit, print the table, write JSON."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.diabetes", description=__doc__.splitlines()[0])
    options.add_argument("--splits", type=int, default=10)
    options.add_argument("--out", type=Path, default=RESULTS)
    given = options.parse_args(arguments)
    if given.splits < 2:
        raise SystemExit(f"--splits: expected at least 2, for a standard error, got {given.splits}")
    about, makers = machine.describe(), models()
    scores: dict[str, list[Score]] = {name: [] for name in makers}
    with tqdm(total=given.splits * len(makers), unit="fit") as bar:
        for seed in range(given.splits):
            data = split(seed)
            for name, make in makers.items():
                scores[name].append(make(data))
                bar.update()
    scores["GPyTorch, the evidence chooses"] = chosen(scores, ("GPyTorch",))
    scores["ours, the evidence chooses"] = chosen(scores, ("NNGP", "NTK"))
    print(table(scores))
    versions = {"torch": torch.__version__, "gpytorch": gpytorch.__version__}
    found = {name: [s._asdict() for s in rows] for name, rows in scores.items()}
    record = {"machine": about, "versions": versions, "splits": given.splits, "results": found}
    given.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
