"""Two panels from a sweep: time against the number of inputs, and time an entry against the size of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .peers import OURS

Lines = dict[str, list[tuple[int, float]]]


def lines(records: list[dict[str, Any]], axis: str, key: str) -> Lines:
    """For each side the points (place on the axis, number) of what was timed; ours is the fastest of its medians there."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        if record["status"] != "timed" or not record["sweep"] or record["sweep"][0] != axis:
            continue
        for name, side in ((OURS, record["ours"]), (record["peer"], record.get("theirs"))):
            if side is not None:
                points = found.setdefault(name, {})
                points[record["sweep"][1]] = min(side[key], points.get(record["sweep"][1], side[key]))
    return {name: sorted(points.items()) for name, points in found.items()}


def draw(records: list[dict[str, Any]], file: Path) -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for panel, axis, key, scale in ((left, "inputs", "median_seconds", 1), (right, "side", "seconds_per_entry", 1e3)):
        places = set()
        for name, points in lines(records, axis, key).items():
            panel.loglog([n for n, _ in points], [scale * value for _, value in points], "o-", label=name)
            places |= {n for n, _ in points}
        panel.set_xticks(sorted(places), [str(n) for n in sorted(places)])
        panel.xaxis.set_minor_locator(NullLocator())
    left.set(title="10 fully connected ReLU layers, N x N entries", xlabel="N", ylabel="seconds")
    right.set(title="5-layer CNN, global pooling", xlabel="height = width of the images", ylabel="ms per entry")
    for panel in (left, right):
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend()
    figure.suptitle("NNGP and NTK in one pass, float32")
    figure.savefig(file, dpi=150)
    pyplot.close(figure)
