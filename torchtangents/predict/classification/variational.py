"""Classification by a sparse variational Gaussian process with the network's kernel, in GPyTorch."""

from __future__ import annotations

from typing import Any

import gpytorch
import torch
from gpytorch.distributions import MultivariateNormal
from gpytorch.variational import CholeskyVariationalDistribution, IndependentMultitaskVariationalStrategy, VariationalStrategy
from torch import Tensor

from ...gp import InfiniteWidthKernel
from ..check import require_number
from .expectation import log_expected_softmax, normal_points
from .task import Task

_BATCH = 128
_STEP = 0.1  # of Adam
_VARIANCE = 100.0  # of the processes, to begin with


class Variational:
    """p = E softmax(f) under the variational posterior of C Gaussian processes; of two classes p = E Phi(f) of one process.

    f_c ~ GP(m_c, a K) with inducing values u = f(Z), q(u) Gaussian and whitened. Adam maximises the evidence lower bound
    sum_i E_q log p(label_i | f(x_i)) - KL(q(u) || p(u)) over q, Z, m, a and the standard deviations of the network's weights
    and biases, in batches of at most 128, with step 0.1. Z begins as a part of the training inputs that the seed draws. Costs no
    N x N matrix. Likelihoods are GPyTorch's `SoftmaxLikelihood` and `BernoulliLikelihood`.

    Args:
        task: what to learn from.
        n_inducing: number of inducing points, at most N of them.
        n_steps: steps of Adam.

    Raises:
        ValueError: n_inducing or n_steps that are no positive integers.

    Hensman, Matthews and Ghahramani 2015 (arXiv 1411.2005).
    """

    def __init__(self, task: Task, n_inducing: int, n_steps: int):
        for name, value in (("n_inducing", n_inducing), ("n_steps", n_steps)):
            if isinstance(value, bool) or require_number(name, value, positive=True) != int(value):
                raise ValueError(f"{name}: expected a whole number >= 1, got {value!r}.")
        x, labels, binary = task.x.flatten(1), task.labels, task.classes == 2
        shape = tuple(task.x.shape[1:])
        kernel = InfiniteWidthKernel(task.net, task.kernel, shape, tied=False, backend=task.options.get("backend", "auto"))
        with torch.random.fork_rng(devices=[]):  # the likelihood and the parameters draw from torch's generator
            torch.manual_seed(task.seed)
            chosen = torch.randperm(len(x), device="cpu")[: int(n_inducing)]
            self.model = _Processes(x[chosen].clone(), kernel, 1 if binary else task.classes).to(x.dtype)
            self.model.kernel.outputscale = _VARIANCE / task.variances(x[chosen].reshape(-1, *shape)).mean().item()
            self.likelihood = _likelihood(task.classes).to(x.dtype)
            bound = gpytorch.mlls.VariationalELBO(self.likelihood, self.model, num_data=len(x))
            optimizer = torch.optim.Adam(self.model.parameters(), lr=_STEP)
            self.model.train()
            parts = -(-len(x) // _BATCH)
            for step in range(int(n_steps)):
                if step % parts == 0:
                    batches = torch.randperm(len(x), device="cpu").tensor_split(parts)
                batch = batches[step % parts]
                optimizer.zero_grad()
                loss: Any = -bound(self.model(x[batch]), labels[batch].to(x) if binary else labels[batch])  # type: ignore[operator]
                loss.backward()
                optimizer.step()
        self.model.eval()
        self.points = normal_points(task.classes, task.seed, x)

    @classmethod
    def learn(cls, task: Task, settings: Any) -> Variational:
        """With the parameters of a `Classifier`."""
        return cls(task, settings.n_inducing, settings.n_steps)

    @torch.no_grad()
    def log_probabilities(self, x: Tensor) -> Tensor:
        """(M, C) at test points."""
        return torch.cat([self._log_probabilities(batch) for batch in x.flatten(1).split(_BATCH)])

    def _log_probabilities(self, x: Tensor) -> Tensor:
        f = self.model(x)
        mean, variance = f.mean.double(), f.variance.double()
        if mean.ndim == 2:
            return log_expected_softmax(mean, variance, self.points)
        odds = mean / (1 + variance).sqrt()  # (M,), E Phi(f) = Phi(odds)
        return torch.stack([torch.special.log_ndtr(-odds), torch.special.log_ndtr(odds)], 1)


class _Processes(gpytorch.models.ApproximateGP):
    """Independent processes with one kernel and the same inducing points; one of them is not a multitask one."""

    def __init__(self, inducing: Tensor, kernel: gpytorch.kernels.Kernel, outputs: int):
        batch = torch.Size([outputs] if outputs > 1 else [])
        distribution = CholeskyVariationalDistribution(len(inducing), batch_shape=batch)
        strategy: Any = VariationalStrategy(self, inducing, distribution, learn_inducing_locations=True)
        if outputs > 1:
            strategy = IndependentMultitaskVariationalStrategy(strategy, num_tasks=outputs)
        super().__init__(strategy)
        self.mean = gpytorch.means.ConstantMean()  # one for all: with one each, the kernel is computed for each
        self.kernel = gpytorch.kernels.ScaleKernel(kernel)

    def forward(self, x: Tensor) -> MultivariateNormal:
        return MultivariateNormal(self.mean(x), self.kernel(x).evaluate_kernel())  # at once, and once for all classes


def _likelihood(classes: int) -> gpytorch.likelihoods.Likelihood:
    if classes == 2:
        return gpytorch.likelihoods.BernoulliLikelihood()
    return gpytorch.likelihoods.SoftmaxLikelihood(num_classes=classes, mixing_weights=False)
