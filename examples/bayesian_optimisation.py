"""Bayesian optimisation with an infinitely wide network as the surrogate: BoTorch chooses where to look for a minimum.

    python examples/bayesian_optimisation.py

The Branin function has three equal minima of 0.398. A Gaussian process with the kernel of a network of infinite width is fitted
to what was evaluated so far, its hyperparameters by the marginal likelihood; expected improvement says where to evaluate next.
"""

import math

import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from gpytorch.kernels import ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood

import torchtangents as tt

LOW, HIGH = (-5.0, 0.0), (10.0, 15.0)


def branin(x: torch.Tensor) -> torch.Tensor:
    """(N,) values at x (N, 2)."""
    u, v = x[:, 0], x[:, 1]
    valley = v - 5.1 / (4 * math.pi**2) * u**2 + 5 / math.pi * u - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * torch.cos(u) + 10


def surrogate(x: torch.Tensor, y: torch.Tensor, steps: int) -> SingleTaskGP:
    """A Gaussian process with the NNGP kernel of a network, fitted to the values y (N, 1) at x (N, 2)."""
    law = {"w_std": 2.0, "b_std": 1.0}
    net = torch.nn.Sequential(
        tt.nn.Linear(2, 512, **law), tt.nn.GELU(), tt.nn.Linear(512, 512, **law), tt.nn.GELU(), tt.nn.Linear(512, 1, **law)
    )
    kernel = ScaleKernel(tt.gp.InfiniteWidthKernel(net))
    without_noise = torch.full_like(y, 0.01)  # left to find out, it takes detail for noise
    transforms = {"input_transform": Normalize(2), "outcome_transform": Standardize(1)}
    model = SingleTaskGP(x, y, without_noise, covar_module=kernel, **transforms)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs={"options": {"maxiter": steps}})
    return model


def optimise(rounds: int = 20, start: int = 6, restarts: int = 4, raw_samples: int = 64, steps: int = 100) -> torch.Tensor:
    """The best value found after each round, (rounds + 1,); the first is that of the random start."""
    bounds = torch.tensor([LOW, HIGH], dtype=torch.float64)
    x = bounds[0] + (bounds[1] - bounds[0]) * torch.rand(start, 2, dtype=torch.float64)
    y = -branin(x)[:, None]  # BoTorch maximises
    best = [y.max()]
    for _ in range(rounds):
        improvement = LogExpectedImprovement(surrogate(x, y, steps), best_f=y.max())
        chosen, _ = optimize_acqf(improvement, bounds, q=1, num_restarts=restarts, raw_samples=raw_samples)
        x, y = torch.cat([x, chosen]), torch.cat([y, -branin(chosen)[:, None]])
        best.append(y.max())
    return -torch.stack(best)


if __name__ == "__main__":
    torch.manual_seed(0)
    for step, value in enumerate(optimise().tolist()):
        print(f"round {step:2d}: best value {value:8.4f}  (minimum 0.3979)")
