"""Gradient ascent by L-BFGS that says why it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .singular import SingularKernelError


class Search(NamedTuple):
    """The best point (P,), the objective after each step (the start first), why it ended, and whether at a maximum."""

    point: Tensor
    history: list[float]
    reason: str
    converged: bool


class _Stop(Exception):
    """Ends the search, with the reason."""


def climb(
    evaluate: Callable[[Tensor], Tensor],
    bounds: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    max_steps: int,
    patience: int,
    tolerance: float,
    gradient_tolerance: float,
    progress: bool | None,
) -> Search:
    """Maximise `evaluate` from the point 0 by scipy's L-BFGS-B, within bounds.

    Args:
        evaluate: of a point (P,), float64, to a differentiable 0-dim tensor.
        bounds, names: of each coordinate; the reason names those that end at a bound.
        max_steps, patience, tolerance, gradient_tolerance, progress: as in `fit`.

    Raises:
        whatever `evaluate` raises at the start; later that ends the search, and the best point stands.

    Byrd, Lu, Nocedal and Zhu 1995, A limited memory algorithm for bound constrained optimization.
    """
    from scipy.optimize import minimize
    from tqdm.auto import tqdm

    best = torch.zeros(len(bounds), dtype=torch.float64, device="cpu")
    history: list[float] = []
    top = -float("inf")

    def objective(at):
        nonlocal best, top
        point = torch.tensor(at, dtype=torch.float64, device="cpu", requires_grad=True)
        try:
            value = evaluate(point)
            (slope,) = torch.autograd.grad(value, point)
        except (SingularKernelError, OverflowError) as error:
            if not history:
                raise
            raise _Stop(f"numerical trouble: {error}") from error
        if not (torch.isfinite(value) and torch.isfinite(slope).all()):
            where = ", ".join(f"{name} {u:+.3g}" for name, u in zip(names, at, strict=True))
            text = f"the objective is {value.item():.3g} and its gradient {slope.tolist()} at {where} from the start"
            if not history:
                raise FloatingPointError(f"{text}; start elsewhere.")
            raise _Stop(f"numerical trouble: {text}")
        if value.item() > top:
            best, top = point.detach(), value.item()
        if not history:
            history.append(top)
        return -value.item(), -slope.numpy()

    with tqdm(desc="fit", unit="step", disable=progress is False, delay=0 if progress else 1.0, leave=bool(progress)) as bar:

        def stepped(_) -> None:
            history.append(top)
            bar.set_postfix(objective=f"{top:.5g}", refresh=False)
            bar.update()
            if len(history) > patience and history[-1] - history[-1 - patience] < tolerance:
                raise _Stop(f"no progress: {patience} steps gained less than {tolerance:g} in log density a target")

        options = {"maxiter": max_steps, "maxfun": 20 * max_steps, "ftol": 0.0, "gtol": gradient_tolerance}
        try:
            done = minimize(objective, best.numpy(), (), "L-BFGS-B", True, bounds=bounds, options=options, callback=stepped)
            converged = done.status == 0
            if converged:
                flat = "PROJECTED GRADIENT" in str(done.message).upper()
                why = f"no derivative exceeds {gradient_tolerance:g}" if flat else "steps gain less than rounding"
                reason = f"converged: {why}"
            else:
                limit = f"step limit: max_steps={max_steps} reached"
                reason = limit if done.status == 1 else f"numerical trouble: L-BFGS says {done.message}"
        except _Stop as stop:
            reason, converged = str(stop), False
    held = [n for n, u, (low, high) in zip(names, best.tolist(), bounds, strict=True) if min(u - low, high - u) < 1e-9]
    return Search(best, history, reason + (f"; at a bound: {', '.join(held)}" if held else ""), converged)
