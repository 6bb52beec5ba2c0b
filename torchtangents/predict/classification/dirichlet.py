"""Classification by exact Gaussian-process regression on the logarithms of Dirichlet counts."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..check import require_number
from ..gram import Gram
from ..regularizer import best_diag_reg
from .task import Task

_DRAWS = 256
_RANGE = 1e-3, 1e4  # of the prior's variance


class Dirichlet:
    """p = E softmax(f), where f_c is a Gaussian process that has seen the log-normal approximation of Gamma variables.

    With alpha = alpha_epsilon + 1 at a sample's own class and alpha_epsilon at the others, target and noise variance are
    s^2 = log(1 + 1/alpha), y = log(alpha) - s^2/2 (`gpytorch.likelihoods.DirichletClassificationLikelihood`). Then, for each
    class by itself, f_c ~ GP(m_c, a K), Q_c = a (K + diag_reg tr(K)/N I) + diag(s_c^2):

    mean m_c + a K* Q_c^-1 (y_c - m_c), variance a K** - a^2 K* Q_c^-1 K*^T, m_c = 1^T Q_c^-1 y_c / 1^T Q_c^-1 1.

    The amplitude a maximises the sum of the classes' evidences at these m_c. The expectation is taken over 256 points of a
    scrambled Sobol sequence, the same for every test point. Memory is C N^2.

    Args:
        task: what to learn from.
        diag_reg: more noise, relative to the mean of the kernel's diagonal; "evidence" or "loo" as for centred one-hot targets.
        alpha_epsilon: count of every class before any data, > 0.

    Raises:
        ValueError: an alpha_epsilon that is not > 0.

    Milios, Camoriano, Michiardi, Rosasco and Filippone 2018 (arXiv 1805.10915).
    """

    def __init__(self, task: Task, diag_reg: float | str, alpha_epsilon: float):
        from gpytorch.likelihoods import DirichletClassificationLikelihood
        from scipy.optimize import minimize_scalar

        self.task = task
        require_number("alpha_epsilon", alpha_epsilon, positive=True)
        likelihood = DirichletClassificationLikelihood(task.labels, alpha_epsilon=float(alpha_epsilon), dtype=torch.float64)
        targets, noise = likelihood.transformed_targets, likelihood.noise  # (C, N) each
        centred = (task.one_hot - 1 / task.classes).to(task.train)
        self.diag_reg = best_diag_reg(task.train, centred, diag_reg) if isinstance(diag_reg, str) else float(diag_reg)
        gram = Gram(task.train, self.diag_reg)
        scale = gram.plain.diagonal().mean().item()

        def loss(log_variance: float) -> float:
            a = math.exp(log_variance) / scale
            return -sum(_fitted(a * gram.matrix + s.diag(), y).evidence for y, s in zip(targets, noise, strict=True))

        found = minimize_scalar(loss, bounds=tuple(map(math.log, _RANGE)), method="bounded", options={"xatol": 1e-2})
        self.amplitude = math.exp(found.x) / scale
        self.fits = [_fitted(self.amplitude * gram.matrix + s.diag(), y) for y, s in zip(targets, noise, strict=True)]
        points = torch.quasirandom.SobolEngine(task.classes, scramble=True, seed=task.seed).draw(_DRAWS, dtype=torch.float64)
        self.draws = torch.special.ndtri(points.clamp(1e-9, 1 - 1e-9)).to(gram.plain)  # (S, C)

    @classmethod
    def learn(cls, task: Task, settings: Any) -> Dirichlet:
        """With the parameters of a `Classifier`."""
        return cls(task, settings.diag_reg, settings.alpha_epsilon)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of f at test points, (M, C) each."""
        cross, prior = self.amplitude * self.task.cross(x), self.amplitude * self.task.variances(x)
        means = [fit.mean + cross @ fit.alpha for fit in self.fits]
        halves = (torch.linalg.solve_triangular(fit.cholesky, cross.mT, upper=False) for fit in self.fits)
        variances = [(prior - half.square().sum(0)).clamp(min=0) for half in halves]
        return torch.stack(means, 1), torch.stack(variances, 1)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """(M, C) at test points."""
        mean, variance = self.moments(x)
        std, total = variance.sqrt(), torch.zeros_like(mean)
        for draw in self.draws:  # one at a time: (M, C), not (S, M, C)
            total += (mean + std * draw).softmax(1)
        return (total / _DRAWS).log()


class _Fit(NamedTuple):
    """One class: the factor of Q, the prior mean, Q^-1 (y - mean), and log N(y; mean, Q)."""

    cholesky: Tensor
    mean: float
    alpha: Tensor
    evidence: float


def _fitted(q: Tensor, y: Tensor) -> _Fit:
    factor = torch.linalg.cholesky(q)
    solved = torch.cholesky_solve(torch.stack([y, torch.ones_like(y)], 1), factor)  # (N, 2)
    mean = (solved[:, 0].sum() / solved[:, 1].sum()).item()
    alpha = solved[:, 0] - mean * solved[:, 1]
    fit = (y - mean) @ alpha + 2 * factor.diagonal().log().sum() + len(y) * math.log(2 * math.pi)
    return _Fit(factor, mean, alpha, -0.5 * fit.item())
