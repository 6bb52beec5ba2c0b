"""Classification by exact Gaussian-process regression on the logarithms of Dirichlet counts."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..check import require_number
from ..gram import Gram
from ..regularizer import best_diag_reg
from .expectation import log_expected_softmax, normal_points
from .task import Task

_RANGE = 1e-3, 1e4  # of the prior's variance
_EPSILONS = 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6


class Dirichlet:
    """p = E softmax(f), where f_c is a Gaussian process that has seen the log-normal approximation of Gamma variables.

    With alpha = alpha_epsilon + 1 at a sample's own class and alpha_epsilon at the others, target and noise variance are
    s^2 = log(1 + 1/alpha), y = log(alpha) - s^2/2 (`gpytorch.likelihoods.DirichletClassificationLikelihood`). Then, for each
    class by itself, f_c ~ GP(m_c, a K), Q_c = a (K + diag_reg tr(K)/N I) + diag(s_c^2):

    mean m_c + a K* Q_c^-1 (y_c - m_c), variance a K** - a^2 K* Q_c^-1 K*^T, m_c = 1^T Q_c^-1 y_c / 1^T Q_c^-1 1.

    The amplitude a maximises the sum of the classes' evidences at these m_c. The expectation is taken over 256 points of a
    scrambled Sobol sequence, the same for every test point. alpha_epsilon decides how sure the probabilities are: None takes
    the power of ten from 1e-1 to 1e-6 with the largest leave-one-out likelihood of the labels, in closed form at fixed a and
    m_c. Memory is C N^2, time some 15 Cholesky factors a class and alpha_epsilon.

    Args:
        task: what to learn from.
        diag_reg: more noise, relative to the mean of the kernel's diagonal; "evidence" or "loo" as for centred one-hot targets.
        alpha_epsilon: count of every class before any data, > 0; or None.

    Raises:
        ValueError: an alpha_epsilon that is not > 0.

    Milios, Camoriano, Michiardi, Rosasco and Filippone 2018 (arXiv 1805.10915).
    """

    def __init__(self, task: Task, diag_reg: float | str, alpha_epsilon: float | None):
        self.task = task
        if alpha_epsilon is not None:
            require_number("alpha_epsilon", alpha_epsilon, positive=True)
        centred = (task.one_hot - 1 / task.classes).to(task.train)
        self.diag_reg = best_diag_reg(task.train, centred, diag_reg) if isinstance(diag_reg, str) else float(diag_reg)
        gram = Gram(task.train, self.diag_reg)
        self.points = normal_points(task.classes, task.seed, gram.matrix)  # (S, C)
        best = None
        for epsilon in _EPSILONS if alpha_epsilon is None else (float(alpha_epsilon),):
            amplitude, processes = _processes(task, gram, epsilon)
            score = self._left_out(processes) if alpha_epsilon is None else 0.0
            if best is None or score > best:
                best, self.alpha_epsilon, self.amplitude, self.processes = score, epsilon, amplitude, processes

    @classmethod
    def learn(cls, task: Task, settings: Any) -> Dirichlet:
        """With the parameters of a `Classifier`."""
        return cls(task, settings.diag_reg, settings.alpha_epsilon)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of f at test points, (M, C) each."""
        cross, prior = self.amplitude * self.task.cross(x), self.amplitude * self.task.variances(x)
        means = [process.mean + cross @ process.alpha for process in self.processes]
        halves = (torch.linalg.solve_triangular(process.cholesky, cross.mT, upper=False) for process in self.processes)
        variances = [(prior - half.square().sum(0)).clamp(min=0) for half in halves]
        return torch.stack(means, 1), torch.stack(variances, 1)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """(M, C) at test points."""
        return log_expected_softmax(*self.moments(x), self.points)

    def _left_out(self, processes: list[_Process]) -> float:
        """Log likelihood of the training labels, each predicted from all the others."""
        mean, variance = (torch.stack(part, 1) for part in zip(*(p.left_out() for p in processes), strict=True))  # (N, C)
        log_p = log_expected_softmax(mean, variance, self.points)
        return log_p.gather(1, self.task.labels[:, None]).sum().item()


class _Process(NamedTuple):
    """One class: targets and noise (N,), the factor of Q, the prior mean, Q^-1 (y - mean), and log N(y; mean, Q)."""

    y: Tensor
    noise: Tensor
    cholesky: Tensor
    mean: float
    alpha: Tensor
    evidence: float

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (N,) of f at each training point, from all the others."""
        precision = torch.cholesky_inverse(self.cholesky).diagonal()
        return self.y - self.alpha / precision, (1 / precision - self.noise).clamp(min=0)


def _processes(task: Task, gram: Gram, alpha_epsilon: float) -> tuple[float, list[_Process]]:
    """The amplitude, and the process of each class."""
    from gpytorch.likelihoods import DirichletClassificationLikelihood
    from scipy.optimize import minimize_scalar

    likelihood = DirichletClassificationLikelihood(task.labels, alpha_epsilon=alpha_epsilon, dtype=torch.float64)
    pairs = list(zip(likelihood.transformed_targets, likelihood.noise, strict=True))
    scale = gram.plain.diagonal().mean().item()

    def loss(log_variance: float) -> float:
        return -sum(_process(gram.matrix * (math.exp(log_variance) / scale), *pair).evidence for pair in pairs)

    found = minimize_scalar(loss, bounds=tuple(map(math.log, _RANGE)), method="bounded", options={"xatol": 1e-2})
    amplitude = math.exp(found.x) / scale
    return amplitude, [_process(gram.matrix * amplitude, *pair) for pair in pairs]


def _process(prior: Tensor, y: Tensor, noise: Tensor) -> _Process:
    factor = torch.linalg.cholesky(prior + noise.diag())
    solved = torch.cholesky_solve(torch.stack([y, torch.ones_like(y)], 1), factor)  # (N, 2)
    mean = (solved[:, 0].sum() / solved[:, 1].sum()).item()
    alpha = solved[:, 0] - mean * solved[:, 1]
    fit = (y - mean) @ alpha + 2 * factor.diagonal().log().sum() + len(y) * math.log(2 * math.pi)
    return _Process(y, noise, factor, mean, alpha, -0.5 * fit.item())
