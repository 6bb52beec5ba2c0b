"""`python docs/drawings.py`: docs/planes.svg, the planes of a covariance and what a read-out asks for."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import torchtangents as tt

SIZE, LENGTH = 8, 16
EMPTY, ASKED, READ, WRITTEN = "#eeeeee", "#3f51b5", "#ff9800", "#1b5e20"


def network(readout: str) -> torch.nn.Module:
    """Two convolutions, each followed by ReLU and a pool of two, over 16 positions."""
    layers: list[torch.nn.Module] = []
    for before in (2, 8):
        layers += [tt.nn.Conv1d(before, 8, 3, padding=1), tt.nn.ReLU(), tt.nn.AvgPool1d(2)]
    if readout == "Flatten":
        return torch.nn.Sequential(*layers, tt.nn.Flatten(), tt.nn.Linear(8 * LENGTH // 4, 1))
    return torch.nn.Sequential(*layers, tt.nn.GlobalAvgPool(), tt.nn.Linear(8, 1))


def planes_asked(readout: str) -> list[tuple[str, int, tuple[int, ...]]]:
    """Of the data and of each layer's output: a name, the number of positions, and the planes that are computed."""
    needs = tt.trace(network(readout), (1, 2, LENGTH)).needs
    last = {step.layer or "data": step for step in needs.steps1 if step.size}  # a layer's last step
    return [(name, step.size[0], needs.planes[step][0]) for name, step in last.items() if "Linear" not in name]


def matrix(ax: Axes, title: str, colour: dict[tuple[int, int], str]) -> None:
    """A covariance over positions p (down) and q (across), some cells in colour."""
    for p in range(SIZE):
        for q in range(SIZE):
            ax.add_patch(Rectangle((q, p), 0.92, 0.92, color=colour.get((p, q), EMPTY), lw=0))
    ax.set(xlim=(-0.1, SIZE), ylim=(SIZE, -0.1), aspect="equal", xlabel="position q of x'", ylabel="position p of x")
    ax.set_title(title, fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])


def by_plane() -> dict[tuple[int, int], str]:
    """Every cell in the colour of its displacement."""
    shades = matplotlib.colormaps["viridis"]
    pick = {d: matplotlib.colors.to_hex(shades(0.05 + 0.9 * (d + SIZE - 1) / (2 * SIZE - 2))) for d in range(1 - SIZE, SIZE)}
    return {(p, q): pick[q - p] for p in range(SIZE) for q in range(SIZE)}


def needs(ax: Axes, readout: str) -> None:
    """A row for each layer, a cell for each plane, the computed ones filled."""
    rows = planes_asked(readout)
    for row, (_, size, asked) in enumerate(rows):
        for d in range(1 - size, size):
            ax.add_patch(Rectangle((d - 0.45, row), 0.9, 0.85, color=ASKED if d in asked else EMPTY, lw=0))
    computed, there = sum(len(asked) for *_, asked in rows), sum(2 * size - 1 for _, size, _ in rows)
    ax.set(xlim=(-LENGTH, LENGTH), ylim=(len(rows), -0.2), xlabel="displacement d")
    ax.set_yticks([row + 0.42 for row in range(len(rows))], [name for name, *_ in rows], fontsize=8)
    ax.tick_params(length=0)
    ax.set_title(f"Read-out {readout}: {computed} of {there} planes", fontsize=9)


def draw(path: Path) -> None:
    """The whole picture, in the format of the file's name."""
    matplotlib.rcParams.update({"svg.hashsalt": "planes", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure = plt.figure(figsize=(9, 6.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1)
    first, second, third = upper.subplots(1, 3)
    matrix(first, "A plane: all pairs with q - p = d", by_plane())
    tied = {(2, 3): READ, (3, 4): READ, (4, 5): READ}
    matrix(second, "A convolution averages within one plane", tied)
    matrix(third, "A pool of two reads a square: three planes", {(p, q): READ for p in (2, 3) for q in (4, 5)})
    for ax in (second, third):
        ax.add_patch(
            Rectangle(
                (3, 2) if ax is second else (4, 2),
                *((2.92, 2.92) if ax is second else (1.92, 1.92)),
                fill=False,
                ec=WRITTEN,
                lw=1.2,
            )
        )
    for ax, readout in zip(lower.subplots(1, 2), ("Flatten", "GlobalAvgPool"), strict=True):
        needs(ax, readout)
    for ax in (first, second, third):
        ax.spines[:].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    matplotlib.use("Agg")
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "planes.svg")
