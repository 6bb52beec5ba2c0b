"""Figures without a screen, in colours that colour-blind readers can tell apart (Okabe and Ito)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ORANGE, BLUE, GREEN, SKY, BLACK, GREY = "#D55E00", "#0072B2", "#009E73", "#56B4E9", "#222222", "#8A8A8A"


def figure(columns: int, size: tuple[float, float], ratios: list[float] | None = None) -> tuple[Figure, list[Any]]:
    """A white figure with one row of plain axes."""
    fig = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(fig)
    axes = fig.subplots(1, columns, squeeze=False, gridspec_kw={"width_ratios": ratios} if ratios else None)[0]
    for ax in axes:
        plain(ax)
    return fig, list(axes)


def plain(ax: Any) -> None:
    """Take away the frame's upper and right sides and soften the others."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(colors="#444444", labelsize=9)


def save(fig: Figure, path: Path, dpi: int = 150) -> None:
    """Write a PNG and say where."""
    fig.savefig(path, dpi=dpi)
    saved(path)


def saved(path: Path) -> None:
    """Say where a file was written."""
    print(f"saved {path}")
