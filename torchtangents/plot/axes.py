"""What every picture needs: axes, arrays and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, BLACK = "#0072B2", "#D55E00", "#222222"  # Okabe and Ito's, which colour-blind readers tell apart


def axes(ax: Axes | None) -> Axes:
    """`ax`, or those of a new figure."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def array(t: Tensor) -> Any:
    """As numpy."""
    return t.detach().cpu().numpy()


def colours(n: int) -> list:
    """In order from dark to light, readable in grey too."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * i / max(n - 1, 1)) for i in range(n)]
