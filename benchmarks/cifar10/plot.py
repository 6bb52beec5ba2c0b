"""The picture of the announcement: accuracy and negative log likelihood against the number of training images; and a table."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .data import CLASSES
from .models import MODELS
from .preprocess import FITS
from .results import Row

STYLES = {"nngp": ("-", "NNGP"), "ntk": ("--", "NTK"), "finite": (":", "trained")}
FINITE = "finite CNN"
TITLES = {"standardised": "standardised channels", "zca": "regularised ZCA"}


class Point(NamedTuple):
    """Means over training sets of one size, with standard errors."""

    accuracy: float
    accuracy_error: float
    log_likelihood: float
    log_likelihood_error: float


def summary(rows: Iterable[Row]) -> dict[tuple[str, str, str], dict[int, Point]]:
    """For each (model, kernel, preprocessing), points by size."""
    groups: dict[tuple, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.model, row.kernel, row.preprocessing][row.size].append(row)
    return {name: {size: _point(sizes[size]) for size in sorted(sizes)} for name, sizes in groups.items()}


def _point(rows: list[Row]) -> Point:
    """The error adds two variances: of the test images, which all training sets share, and of the training sets."""
    numbers = []
    for name in ("accuracy", "log_likelihood"):
        values = [getattr(row, name) for row in rows]
        mean, n = sum(values) / len(rows), len(rows)
        within = sum(getattr(row, f"{name}_error") ** 2 for row in rows) / n
        between = sum((value - mean) ** 2 for value in values) / (n - 1) / n if n > 1 else 0.0
        numbers += [mean, math.sqrt(within + between)]
    return Point(*numbers)


def label(model: str) -> str:
    """A model's name in words."""
    return MODELS[model].label if model in MODELS else FINITE


def table(rows: Iterable[Row]) -> str:
    """Markdown: every model at the sizes from 320 on, accuracy in percent and log likelihood."""
    found = summary(rows)
    sizes = sorted({size for points in found.values() for size in points})
    sizes = [size for size in sizes if size in (320, 640, 1000, 1280, 5000)] or sizes[-2:]
    lines = [f"| model | kernel | images seen as | {' | '.join(map(str, sizes))} |", "|---" * (3 + len(sizes)) + "|"]
    order = [*MODELS, "finite-cnn"]
    for (model, kernel, seen), points in sorted(
        found.items(), key=lambda item: (item[0][2], order.index(item[0][0]), item[0][1])
    ):
        cells = [_cell(points.get(size)) for size in sizes]
        lines.append(f"| {label(model)} | {STYLES[kernel][1]} | {TITLES[seen]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(point: Point | None) -> str:
    if point is None:
        return ""
    accuracy = f"{100 * point.accuracy:.1f} ± {100 * point.accuracy_error:.1f}"
    return f"{accuracy}; {point.log_likelihood:.3f} ± {point.log_likelihood_error:.3f}"


def draw(rows: list[Row], file: Path) -> None:
    """Write the picture: a row of panels for each preprocessing, colours for models, line styles for kernels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator

    found = summary(rows)
    seen = [name for name in FITS if any(row.preprocessing == name for row in rows)]
    figure, panels = pyplot.subplots(
        len(seen), 2, figsize=(12, 4.2 * len(seen)), layout="constrained", squeeze=False, sharex=True
    )
    names = [name for name in (*MODELS, "finite-cnn") if any(row.model == name for row in rows)]
    colours = {name: "black" if name == "finite-cnn" else f"C{list(MODELS).index(name)}" for name in names}
    for (model, kernel, preprocessing), points in found.items():
        for panel, place, sign in ((0, 0, 1), (1, 2, -1)):
            middle, error = ([p[place + i] for p in points.values()] for i in (0, 1))
            panels[seen.index(preprocessing), panel].errorbar(
                list(points), [sign * m for m in middle], error, color=colours[model], linestyle=STYLES[kernel][0],
                marker="o" if kernel != "ntk" else "s", markersize=3, linewidth=1.2, elinewidth=0.8, capsize=2,
            )  # fmt: skip
    sizes = sorted({row.size for row in rows})
    marked = [size for size, after in zip(sizes, [*sizes[1:], math.inf], strict=True) if after > 1.5 * size]  # labels have room
    for row, name in zip(panels, seen, strict=True):
        row[0].set(title=f"Accuracy, {TITLES[name]}", ylabel="test accuracy")
        row[1].set(title=f"Negative log likelihood, {TITLES[name]}", ylabel="nats a test image")
        row[0].axhline(1 / CLASSES, color="grey", linewidth=0.8)
        row[1].axhline(math.log(CLASSES), color="grey", linewidth=0.8)
        for panel in row:
            panel.set_xscale("log")
            panel.set_xticks(marked, [f"{size:,}" for size in marked], rotation=45)
            panel.xaxis.set_minor_locator(NullLocator())
            panel.tick_params(labelbottom=True)
            panel.grid(alpha=0.3)
    for panel in panels[-1]:
        panel.set_xlabel("training images")
    handles = [Line2D([], [], color=colours[name], label=label(name)) for name in names]
    kernels = [kernel for kernel in STYLES if any(row.kernel == kernel for row in rows)]
    handles += [Line2D([], [], color="grey", linestyle=STYLES[kernel][0], label=STYLES[kernel][1]) for kernel in kernels]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    tests = max(row.test_images for row in rows)
    figure.suptitle(f"CIFAR-10, {tests:,} test images; bars: standard errors over test images and training sets", x=0.42)
    figure.savefig(file, dpi=130)
    pyplot.close(figure)
