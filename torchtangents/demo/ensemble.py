"""Finite networks in training against the law of infinitely wide ones, on a curve."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.animation import PillowWriter
from torch import Tensor, nn

import torchtangents as tt

from .finite import train
from .paint import BLACK, BLUE, GREEN, ORANGE, figure, save, saved

SPAN = 3.3  # of the inputs shown


class View(NamedTuple):
    """One ensemble over time: mean and std of the outputs (T, M), and of the training and test loss (T,)."""

    mean: Tensor
    std: Tensor
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    members: int = 0


class Curve(NamedTuple):
    """Points of sin(x), a grid of test inputs, and recorded steps of training."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    times: list[int]


def network(width: int) -> nn.Sequential:
    """Two hidden layers of erf."""
    law = {"w_std": 1.5, "b_std": 0.05}
    return nn.Sequential(
        tt.nn.Linear(1, width, **law), tt.nn.Erf(), tt.nn.Linear(width, width, **law), tt.nn.Erf(), tt.nn.Linear(width, 1, **law)
    )


def curve(steps: int, frames: int) -> Curve:
    """Six points with a gap on the right, and steps spaced evenly in log time."""
    x = torch.tensor([[-2.8], [-2.0], [-1.2], [-0.5], [0.3], [2.4]])
    x_test = torch.linspace(-SPAN, SPAN, 121)[:, None]
    spaced = torch.logspace(0, torch.log10(torch.tensor(float(steps))).item(), frames - 1)
    times = sorted({0, *(round(t) for t in spaced.tolist())})
    return Curve(x, torch.sin(x[:, 0]), x_test, torch.sin(x_test[:, 0]), times)


def infinite(data: Curve, learning_rate: float) -> View:
    """The law at infinite width, in closed form at every time."""
    law = tt.predict.Ensemble(network(1), data.x, data.y, kernel="ntk", learning_rate=learning_rate)
    times = torch.tensor(data.times, dtype=torch.float64)
    mean, variance = law.at(t=times, x_test=data.x_test, covariance="diagonal")
    assert variance is not None
    return View(mean, variance.sqrt(), tuple(law.loss(times)), tuple(law.loss(times, data.x_test, data.y_test)))


def finite(data: Curve, width: int, members: int, learning_rate: float) -> View:
    """Networks of one width, trained step by step."""
    torch.manual_seed(width)
    label = f"training {members} networks of width {width}"
    f, f_test = train(network(width), members, data.x, data.y, learning_rate, data.times, data.x_test, label)
    seen, unseen = (0.5 * (out - y).square().mean(-1) for out, y in ((f, data.y), (f_test, data.y_test)))
    loss, test_loss = (seen.mean(1), seen.std(1)), (unseen.mean(1), unseen.std(1))
    return View(f_test.mean(1), f_test.std(1), loss, test_loss, members)


def differences(view: View, law: View) -> tuple[float, float]:
    """RMS over test inputs and times of what separates the means, and the standard deviations."""
    return tuple((a - b).square().mean().sqrt().item() for a, b in ((view.mean, law.mean), (view.std, law.std)))  # type: ignore[return-value]


def compare(quick: bool = False) -> tuple[Curve, View, dict[int, View]]:
    """The infinite ensemble, and the finite ones by width."""
    data = curve(*((128, 12) if quick else (192, 36)))
    rate = 0.15 * tt.predict.max_learning_rate(tt.ntk(network(1), data.x))
    sizes = {4: 200, 16: 200, 64: 100} if quick else {8: 400, 32: 400, 128: 400}
    return data, infinite(data, rate), {width: finite(data, width, members, rate) for width, members in sizes.items()}


def run(out: Path, quick: bool = False) -> None:
    """Print how finite ensembles approach the infinite one; write ensemble.png and ensemble.gif."""
    print("Ensembles: finite networks against infinite width, over training")
    data, law, views = compare(quick)
    print(f"{'width':>7}  {'members':>7}  {'RMS of means':>12}  {'RMS of stds':>11}  {'by chance':>9}")
    noise = law.std.square().mean().sqrt().item()
    for width, view in views.items():
        mean, std = differences(view, law)
        chance = noise / math.sqrt(view.members)  # of the std of members / 2 independent pairs
        print(f"{width:>7}  {view.members:>7}  {mean:>12.4f}  {std:>11.4f}  {chance:>9.4f}")
    width, view = list(views.items())[-1]
    fig, axes = figure(3, (12.6, 4.0), [1, 1, 1])
    paint_function(axes[0], data, law, view, 0, width)
    paint_function(axes[1], data, law, view, len(data.times) - 1, width)
    paint_loss(axes[2], data, law, view)
    axes[0].legend(loc="lower center", frameon=False, fontsize=8.5, ncols=2)
    save(fig, out / "ensemble.png", dpi=160)
    animate(out / "ensemble.gif", data, law, view, width)


def paint_function(ax: Any, data: Curve, law: View, view: View, frame: int, width: int) -> None:
    """Means and two standard deviations at one time."""
    x, mean, std = data.x_test[:, 0], law.mean[frame], law.std[frame]
    ax.fill_between(x, mean - 2 * std, mean + 2 * std, color=ORANGE, alpha=0.2, lw=0, label="infinite: ± 2 std")
    ax.plot(x, mean, color=ORANGE, lw=2.4, label="infinite: mean")
    mean, std = view.mean[frame], view.std[frame]
    ax.plot(x, mean, color=BLUE, lw=1.6, ls=(0, (4, 2)), label=f"width {width}: mean")
    for sign in (-2, 2):
        label = f"width {width}: ± 2 std" if sign > 0 else None
        ax.plot(x, mean + sign * std, color=BLUE, lw=1.3, ls=":", label=label)
    ax.plot(data.x[:, 0], data.y, "o", color=BLACK, ms=6, mec="white", mew=1, zorder=5, label="training points")
    step = data.times[frame]
    ax.set(xlim=(-SPAN, SPAN), ylim=(-4.6, 2.8), xlabel="input", ylabel="output")
    ax.set_title("before training" if step == 0 else f"after {step} step{'s' * (step > 1)}", loc="left", fontsize=11)


def paint_loss(ax: Any, data: Curve, law: View, view: View) -> None:
    """Losses over time: means, and bands of one standard deviation up and the same factor down."""
    times = torch.tensor(data.times)[1:]
    for name, colour in (("test", GREEN), ("train", ORANGE)):
        mean, std = (v[1:] for v in getattr(law, name))
        factor = 1 + std / mean
        ax.fill_between(times, mean / factor, mean * factor, color=colour, alpha=0.2, lw=0)
        ax.plot(times, mean, color=colour, lw=2.4, label=f"{name}, infinite")
        mean, std = (v[1:] for v in getattr(view, name))
        factor = 1 + std / mean
        ax.plot(times, mean, color=BLUE, lw=1.6, ls=(0, (4, 2)), label="finite: mean" if name == "train" else None)
        for edge, label in ((mean / factor, None), (mean * factor, "finite: 1 std" if name == "train" else None)):
            ax.plot(times, edge, color=BLUE, lw=1.1, ls=":", label=label)
    ax.set(xscale="log", yscale="log", xlim=(1, data.times[-1]), xlabel="steps of gradient descent", ylabel="loss")
    ax.set_title("loss", loc="left", fontsize=11)
    ax.legend(loc="lower left", frameon=False, fontsize=8.5)


def animate(path: Path, data: Curve, law: View, view: View, width: int) -> None:
    """The training as a film."""
    fig, axes = figure(2, (8.4, 3.6))
    paint_loss(axes[1], data, law, view)
    now = axes[1].axvline(1, color=BLACK, lw=1)
    writer = PillowWriter(fps=6)
    with writer.saving(fig, str(path), dpi=80):
        for frame, step in enumerate(data.times):
            axes[0].clear()
            paint_function(axes[0], data, law, view, frame, width)
            axes[0].legend(loc="lower center", frameon=False, fontsize=7.5, ncols=2)
            now.set_xdata([max(step, 1)] * 2)
            writer.grab_frame()
    saved(path)
