"""Ensembles of finite networks, drawn and trained side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from tqdm import tqdm


def draw(net: nn.Module, members: int) -> dict[str, Tensor]:
    """Weights of `members` networks in the NTK parametrisation, N(0, 1) each: name to (members, *shape)."""
    return {name: torch.randn(members, *weight.shape) for name, weight in net.named_parameters()}


def paired(net: nn.Sequential, members: int) -> dict[str, Tensor]:
    """As `draw`, the second half repeating the first with the last layer's sign turned: outputs start with mean 0 exactly."""
    half, last = draw(net, members // 2), f"{len(net) - 1}."
    return {name: torch.cat([w, -w if name.startswith(last) else w]) for name, w in half.items()}


def outputs(net: nn.Module, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """One output of each network at each input: (members, N)."""
    return vmap(lambda w: functional_call(net, w, (x,))[:, 0])(weights)


def train(
    net: nn.Sequential, members: int, x: Tensor, y: Tensor, learning_rate: float, times: Sequence[int], x_test: Tensor, label: str
) -> tuple[Tensor, Tensor]:
    """Full-batch descent on 1/2 mean((f - y)^2); outputs at `times`, training (T, members, N) and test (T, members, M)."""

    def loss(w: dict[str, Tensor]) -> Tensor:
        return 0.5 * (functional_call(net, w, (x,))[:, 0] - y).square().mean()

    weights, slope = paired(net, members), vmap(grad(loss))
    train_views, test_views = [], []
    wanted = set(times)
    for step in tqdm(range(max(times) + 1), desc=label, unit="step", leave=False):
        if step in wanted:
            with torch.no_grad():
                train_views.append(outputs(net, weights, x))
                test_views.append(outputs(net, weights, x_test))
        if step < max(times):
            for name, gradient in slope(weights).items():
                weights[name].sub_(gradient, alpha=learning_rate)
    return torch.stack(train_views), torch.stack(test_views)
