"""`python -m benchmarks.tabular`: classification of small tables, our kernels against the usual classifiers.

The tables are scikit-learn's own (iris, wine, breast_cancer, digits; no network). Ten stratified random splits, seeds 0 to 9: a
fifth is the test part; of digits 500 samples train and the rest are the test part. Features are standardised by the training
part. What a model leaves open is chosen by the accuracy in stratified cross-validation (five folds, the same for every model)
inside the training part, as Arora et al. 2020 (arXiv 1910.01663) choose the depth and the regulariser of the NTK; there NTK
is the best classifier on 90 tables of UCI. Reported: accuracy on the test part, mean and standard error over splits.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gpytorch
import numpy as np
import sklearn
import torch
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import DirichletClassificationLikelihood
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from tqdm import tqdm

import torchtangents as tt

from . import machine

DATA: dict[str, Callable[..., Any]] = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
}
MOST = 500  # training samples
FOLDS = 5
DEPTHS, REGULARISERS = (1, 2, 3, 5), (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
STEPS = 100  # of Adam, as in GPyTorch's example of Dirichlet classification
RESULTS = Path(__file__).parent / "results" / "tabular"


class DirichletProcess(ClassifierMixin, BaseEstimator):
    """GPyTorch's classifier by regression on Dirichlet counts (Milios et al. 2018, arXiv 1805.10915), with an RBF kernel.

    One process a class with its own length scale, output scale and mean; Adam, step 0.1, maximises the marginal likelihood.
    """

    def fit(self, X: np.ndarray, y: np.ndarray) -> DirichletProcess:
        """Learn from X (N, D) and labels y (N,)."""
        self.classes_, labels = np.unique(y, return_inverse=True)
        x = torch.tensor(X, dtype=torch.float64)
        likelihood = DirichletClassificationLikelihood(torch.tensor(labels), dtype=torch.float64, learn_additional_noise=True)
        self.model_ = _Regression(x, likelihood).double()
        objective = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, self.model_)
        search = torch.optim.Adam(self.model_.parameters(), lr=0.1)
        for _ in range(STEPS):
            search.zero_grad()
            loss = -objective(self.model_(x), likelihood.transformed_targets).sum()
            loss.backward()
            search.step()
        self.model_.eval()
        return self

    @torch.no_grad()
    def predict(self, X: np.ndarray) -> np.ndarray:
        """The class with the largest mean."""
        return self.classes_[self.model_(torch.tensor(X, dtype=torch.float64)).mean.argmax(0).numpy()]


class _Regression(gpytorch.models.ExactGP):
    """One process for each class."""

    def __init__(self, x: torch.Tensor, likelihood: Any):
        super().__init__(x, likelihood.transformed_targets, likelihood)
        batch = torch.Size([likelihood.num_classes])
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=batch)
        self.covar_module = ScaleKernel(RBFKernel(batch_shape=batch), batch_shape=batch)

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def network(depth: int) -> nn.Module:
    """`depth` hidden ReLU layers."""
    law = {"w_std": math.sqrt(2), "b_std": 0.1}
    hidden = [
        layer for i in range(depth) for layer in (tt.nn.Linear(8, 8, **law) if i else tt.nn.LazyLinear(8, **law), nn.ReLU())
    ]
    return nn.Sequential(*hidden, tt.nn.Linear(8, 1, **law))


def models(depths: Sequence[int] = DEPTHS) -> dict[str, tuple[Any, dict[str, Sequence[Any]]]]:
    """By name: a classifier, and what cross-validation chooses from."""
    open_ = {"net": [network(depth) for depth in depths], "diag_reg": REGULARISERS}
    return {
        "NTK": (tt.predict.Classifier(kernel="ntk", progress=False), open_),
        "NNGP": (tt.predict.Classifier(kernel="nngp", progress=False), open_),
        "random forest": (RandomForestClassifier(100, random_state=0), {"max_features": ["sqrt", 0.5]}),
        "SVM, RBF": (SVC(), {"C": [0.1, 1, 10, 100, 1000], "gamma": ["scale", *(10.0 ** np.arange(-4, 1))]}),
        "GPyTorch, RBF": (DirichletProcess(), {}),
    }


def parts(name: str, seed: int, most: int = MOST) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and test features, training and test labels."""
    x, y = DATA[name](return_X_y=True)
    size = min(len(y) - len(y) // 5, most)
    return tuple(train_test_split(x, y, train_size=size, random_state=seed, stratify=y))


def accuracy(name: str, seed: int, model: Any, choices: dict[str, Sequence[Any]], most: int = MOST) -> float:
    """Of the test part of one split."""
    x, x_test, y, y_test = parts(name, seed, most)
    pipeline = make_pipeline(StandardScaler(), model)
    if choices:
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        grid = {f"{pipeline.steps[-1][0]}__{key}": list(values) for key, values in choices.items()}
        pipeline = GridSearchCV(pipeline, grid, cv=folds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="gpytorch")  # jitter where a learned noise vanishes
        return float(pipeline.fit(x, y).score(x_test, y_test))


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Markdown: percent, mean and standard error over splits; the last column is the mean over tables."""
    names = list(next(iter(found.values())))
    lines = [f"| model | {' | '.join(names)} | mean |", "|---" * (len(names) + 2) + "|"]
    for model, tables in found.items():
        scores = 100 * np.array([tables[name] for name in names])  # (tables, splits)
        errors = scores.std(1, ddof=1) / math.sqrt(scores.shape[1])
        cells = [f"{m:.1f} ± {e:.1f}" for m, e in zip(scores.mean(1), errors, strict=True)]
        lines.append(f"| {model} | {' | '.join(cells)} | {scores.mean():.1f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Fit, print the table, write it and JSON."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.tabular", description=__doc__.splitlines()[0])
    options.add_argument("--splits", type=int, default=10)
    options.add_argument("--only", nargs="+", choices=list(DATA), default=list(DATA))
    options.add_argument("--out", type=Path, default=RESULTS, help="two files of this name, .json and .md")
    given = options.parse_args(arguments)
    if given.splits < 2:
        raise SystemExit(f"--splits: expected at least 2, for a standard error, got {given.splits}")
    about, makers, began = machine.describe(), models(), time.perf_counter()
    found: dict[str, dict[str, list[float]]] = {model: {name: [] for name in given.only} for model in makers}
    seconds = dict.fromkeys(makers, 0.0)
    with tqdm(total=len(given.only) * given.splits * len(makers), unit="fit") as bar:
        for name in given.only:
            for seed in range(given.splits):
                for model, maker in makers.items():
                    start = time.perf_counter()
                    found[model][name].append(accuracy(name, seed, *maker))
                    seconds[model] += time.perf_counter() - start
                    bar.update()
    text = table(found)
    print(text)
    command = f"python -m benchmarks.tabular --splits {given.splits} --only {' '.join(given.only)}"
    versions = {"torch": torch.__version__, "gpytorch": gpytorch.__version__, "scikit-learn": sklearn.__version__}
    record = {
        "command": command, "machine": about, "versions": versions, "seconds": round(time.perf_counter() - began, 1),
        "seconds_by_model": {model: round(value, 1) for model, value in seconds.items()}, "accuracy": found,
    }  # fmt: skip
    given.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    given.out.with_suffix(".md").write_text(text + "\n")


if __name__ == "__main__":
    main()
