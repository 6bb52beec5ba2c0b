"""Ensembles in training: outputs and losses, with their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..predict.check import require_number, require_tensor
from .axes import BLACK, BLUE, ORANGE, array, axes, colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..predict import Ensemble


def function_bands(
    ensemble: Ensemble, x: Tensor, times: Sequence[float | None], *, stds: float = 2.0, output: int = 0, ax: Axes | None = None
) -> Axes:
    """The ensemble's functions over one input number: mean and a band of mean ± stds standard deviations, a colour for each time.

    Args:
        ensemble: of a network with inputs (N, 1).
        x: (M, 1) inputs to draw over.
        times: training times in steps; None is infinity.
        stds: half the width of the band, in standard deviations.
        output: which output, where y_train is (N, O).
        ax: axes to draw on; None makes a figure.

    Raises:
        ValueError: inputs of more than one number, no times, an output that does not exist; as `Ensemble.at`.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8), tt.nn.Erf(), tt.nn.Linear(8, 1))
        >>> ensemble = tt.predict.Ensemble(net, torch.tensor([[-1.], [1.]]), torch.tensor([0., 1.]))
        >>> ax = tt.plot.function_bands(ensemble, torch.linspace(-2, 2, 50)[:, None], [0., 100., None])
        >>> ax.get_xlabel()
        'input'
    """
    x = require_tensor("x", x)
    if x.ndim != 2 or x.shape[1] != 1:
        raise ValueError(f"x: expected inputs (M, 1), got {tuple(x.shape)}; over other inputs use output_bands, over time.")
    if not len(times):
        raise ValueError("times: expected at least one training time, got none.")
    stds = require_number("stds", stds)
    order = x[:, 0].argsort()
    bands = [_band(ensemble, t, x[order], output) for t in times]
    ax = axes(ax)
    for t, colour, (mean, std) in zip(times, colours(len(times)), bands, strict=True):
        ax.fill_between(array(x[order, 0]), mean - stds * std, mean + stds * std, color=colour, alpha=0.2, lw=0)
        ax.plot(array(x[order, 0]), mean, color=colour, lw=2, label="t = ∞" if t is None else f"t = {float(t):g}")
    seen, targets = torch.as_tensor(ensemble.kernels.x_train), ensemble.y_train.reshape(len(ensemble.y_train), -1)[:, output]
    ax.plot(array(seen[:, 0]), array(targets), "o", color=BLACK, ms=5, mec="white", label="training points", zorder=3)
    ax.set(xlabel="input", ylabel="output", title=f"mean ± {stds:g} standard deviations")
    ax.legend(frameon=False)
    return ax


def output_bands(
    ensemble: Ensemble, x: Tensor | tuple[Tensor, ...] | None, times: Sequence[float] | Tensor, *, stds: float = 2.0,
    output: int = 0, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """The outputs at given inputs over training time: mean ± stds standard deviations, a colour for each input.

    Args:
        ensemble: any.
        x: a few inputs (M, ...); None is the training points.
        times: training times in steps, on a logarithmic axis (linear up to the first that is not 0).
        stds, output, ax: as in `function_bands`.

    Raises:
        ValueError: no times, an output that does not exist; as `Ensemble.at`.

    Example:
        >>> import torch, torchtangents as tt
        >>> ensemble = tt.predict.Ensemble(tt.nn.Linear(2, 1), torch.eye(2), torch.tensor([0., 1.]))
        >>> tt.plot.output_bands(ensemble, torch.ones(1, 2), torch.logspace(0, 3, 20)).get_xscale()
        'log'
    """
    times, stds = _times(times), require_number("stds", stds)
    mean, std = _band(ensemble, times, x, output)  # (T, M) each
    ax = axes(ax)
    for i, colour in enumerate(colours(mean.shape[1])):
        ax.fill_between(array(times), (mean - stds * std)[:, i], (mean + stds * std)[:, i], color=colour, alpha=0.2, lw=0)
        ax.plot(array(times), mean[:, i], color=colour, lw=2, label=f"input {i}")
    _time_axis(ax, times)
    ax.set(ylabel="output", title=f"mean ± {stds:g} standard deviations")
    if mean.shape[1] <= 10:
        ax.legend(frameon=False)
    return ax


def loss_bands(
    ensemble: Ensemble, times: Sequence[float] | Tensor, x: Tensor | tuple[Tensor, ...] | None = None, y: Tensor | None = None,
    *, ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """The ensemble's loss over training time, on the training points and on test points if given.

    The line is the mean over the ensemble; the band reaches one standard deviation up and the same factor down, as befits a
    logarithmic axis: from mean / (1 + std / mean) to mean + std.

    Args:
        ensemble: any.
        times: as in `output_bands`.
        x, y: test inputs and targets, (M,) or (M, O).
        ax: axes to draw on; None makes a figure.

    Raises:
        ValueError: no times, one of `x` and `y` without the other; as `Ensemble.loss`.

    Example:
        >>> import torch, torchtangents as tt
        >>> ensemble = tt.predict.Ensemble(tt.nn.Linear(2, 1), torch.eye(2), torch.tensor([0., 1.]))
        >>> tt.plot.loss_bands(ensemble, torch.logspace(0, 2, 20)).get_ylabel()
        'loss'
    """
    times = _times(times)
    losses = {"training": ensemble.loss(times)}
    if x is not None or y is not None:
        losses["test"] = ensemble.loss(times, x, y)
    ax = axes(ax)
    for (name, loss), colour in zip(losses.items(), (ORANGE, BLUE), strict=False):
        mean, factor = array(loss.mean), array(1 + loss.std / loss.mean.clamp(min=torch.finfo(loss.mean.dtype).tiny))
        ax.fill_between(array(times), mean / factor, mean * factor, color=colour, alpha=0.2, lw=0)
        ax.plot(array(times), mean, color=colour, lw=2, label=name)
    _time_axis(ax, times)
    ax.set(ylabel="loss", yscale="log", title="mean and one standard deviation")
    ax.legend(frameon=False)
    return ax


def _band(ensemble: Ensemble, t: Any, x: Any, output: int) -> tuple[Any, Any]:
    """Mean and standard deviation of one output at the inputs: (*T, M) each."""
    y = ensemble.y_train
    outputs = math.prod(y.shape[1:])
    if isinstance(output, bool) or not isinstance(output, int) or not 0 <= output < outputs:
        raise ValueError(f"output: expected the number of an output from 0 to {outputs - 1}, got {output!r}.")
    mean, variance = ensemble.at(t, x, covariance="diagonal")
    assert variance is not None
    if y.ndim > 1:
        mean = mean.flatten(mean.ndim - y.ndim + 1)[..., output]
    return array(mean), array(variance.clamp(min=0).sqrt())


def _times(times: Sequence[float] | Tensor) -> Tensor:
    found = torch.as_tensor(times, dtype=torch.float64).reshape(-1)
    if not len(found):
        raise ValueError("times: expected at least one training time, got none.")
    return found.sort().values


def _time_axis(ax: Axes, times: Tensor) -> None:
    ax.set_xlabel("training time, in steps")
    positive = times[times > 0]
    if not len(positive):
        return
    if times[0] > 0:
        ax.set_xscale("log")
    else:
        ax.set_xscale("symlog", linthresh=positive[0].item())
