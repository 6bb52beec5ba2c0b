"""Preconditioned conjugate gradients for all right-hand sides at once, that can be stopped and taken up again.

Every right-hand side has its own step lengths and stops by itself; they share the reading of the matrix, which is what
costs. Block conjugate gradients (O'Leary 1980), where they share a Krylov space too, need fewer iterations but break down where
residuals become linearly dependent, which centred one-hot targets are from the start; with a preconditioner little is lost.
linear_operator's own loop stops on the average residual and cannot be taken up again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_MARGIN = 0.9  # of the tolerance, for the recursion's residuals, so that the true ones meet it
_GAIN = 0.5  # what a restart from the true residual must gain


@dataclass
class State:
    """All that an iteration reads, in float64: iterates, residuals and directions (N, C), and numbers (C,).

    `product` is r^T P^-1 r of the preconditioned residual, `norm` the recursion's residual, `checked` the true residual when it
    was last computed (infinity before), all for right-hand sides of length 1.
    """

    x: Tensor
    r: Tensor
    p: Tensor
    product: Tensor
    norm: Tensor
    checked: Tensor
    iteration: int = 0

    @classmethod
    def start(cls, b: Tensor, inverse: Callable[[Tensor], Tensor]) -> State:
        """From x = 0."""
        p = inverse(b)
        norm = b.norm(dim=0)
        return cls(torch.zeros_like(b), b.clone(), p, (b * p).sum(0), norm, torch.full_like(norm, torch.inf))

    def restart(self, columns: Tensor, residual: Tensor, inverse: Callable[[Tensor], Tensor]) -> None:
        """Take the true residuals (N, A) of some columns for the recursion's."""
        p = inverse(residual)
        self.r[:, columns], self.p[:, columns] = residual, p
        self.product[columns], self.norm[columns] = (residual * p).sum(0), residual.norm(dim=0)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"iteration": torch.tensor(self.iteration, device="cpu")}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> State:
        """The inverse of `tensors`."""
        return cls(**{**tensors, "iteration": int(tensors["iteration"])})  # type: ignore[arg-type]


@dataclass
class Limits:
    """When to stop: relative residual, iterations in all, and the curvature p^T Q p / p^T p that is zero to rounding."""

    tolerance: float
    iterations: int
    curvature: float


class CurvatureError(ArithmeticError):
    """A direction p along which p^T Q p / p^T p, `quotient`, is not positive: Q is not positive definite."""

    def __init__(self, quotient: float, iteration: int):
        super().__init__(f"curvature {quotient:.3g} at iteration {iteration}")
        self.quotient, self.iteration = quotient, iteration


def conjugate_gradients(
    matrix: Callable[[Tensor], Tensor],
    b: Tensor,
    inverse: Callable[[Tensor], Tensor],
    state: State,
    limits: Limits,
    save: Callable[[State, bool], object],
    progress: bool | None = None,
) -> tuple[Tensor, str | None]:
    """Iterate on `state` in place until every *true* residual |b - Q x| is within the tolerance.

    p_k+1 = z_k+1 + (r_k+1^T z_k+1 / r_k^T z_k) p_k with z = P^-1 r (Hestenes and Stiefel 1952; Golub and Van Loan 2013,
    section 11.5). When the recursion's residuals have converged the true ones are computed, and columns that have not are
    started anew from them.

    Args:
        matrix: Q p (N, A) for p (N, A).
        b: (N, C) right-hand sides of length 1 or 0.
        inverse: P^-1 r (N, A) for r (N, A).
        state: where to begin.
        limits: when to stop.
        save: is given the state after each iteration, with True at the end.
        progress: a bar, or none, or one that appears when it takes long.

    Returns:
        The true residuals (C,), and None or why the tolerance was not met: "iterations", or "stagnation" where restarts gain
        nothing more.

    Raises:
        CurvatureError: Q is not positive definite.
    """
    with _bar(progress) as step:
        while True:
            active = (state.norm > _MARGIN * limits.tolerance).nonzero()[:, 0]
            if len(active) and state.iteration < limits.iterations:
                _iterate(matrix, inverse, state, active, limits.curvature)
                save(state, False)
                step(state.norm.max().item())
                continue
            residual = b - matrix(state.x)
            true = residual.norm(dim=0)
            late = (true > limits.tolerance).nonzero()[:, 0]
            exhausted = state.iteration >= limits.iterations
            stuck = bool((true[late] > _GAIN * state.checked[late]).any())
            if len(late) == 0 or exhausted or stuck:
                save(state, True)
                return true, None if len(late) == 0 else "stagnation" if stuck else "iterations"
            state.checked[late] = true[late]
            state.restart(late, residual[:, late], inverse)


def _iterate(
    matrix: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor], state: State, active: Tensor, least: float
) -> None:
    p = state.p[:, active]  # (N, A)
    q = matrix(p)
    curvature = (p * q).sum(0)
    quotient = curvature / p.square().sum(0)
    if not bool((quotient > least).all()):
        raise CurvatureError(quotient.min().item(), state.iteration)
    length = state.product[active] / curvature
    state.x[:, active] += length * p
    r = state.r[:, active] - length * q
    z = inverse(r)
    product = (r * z).sum(0)
    state.p[:, active] = z + product / state.product[active] * p
    state.r[:, active], state.product[active], state.norm[active] = r, product, r.norm(dim=0)
    state.iteration += 1


@contextmanager
def _bar(progress: bool | None) -> Iterator[Callable[[float], None]]:
    from tqdm.auto import tqdm

    options: dict[str, Any] = {"delay": 0 if progress else 1.0, "leave": bool(progress), "disable": progress is False}
    with tqdm(unit="iteration", desc="cg", **options) as bar:

        def step(residual: float) -> None:
            bar.set_postfix_str(f"residual {residual:.1e}", refresh=False)
            bar.update(1)

        yield step
