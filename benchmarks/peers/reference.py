"""This library's reference backend: the rules themselves, in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import ours

ENVIRONMENT, OUTPUTS, can, versions = ours.ENVIRONMENT, ours.OUTPUTS, ours.can, ours.versions


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray, outputs: Sequence[str]) -> Callable[[], tuple]:
    """As ours, with the backend named."""
    return ours.prepare(net, x1, x2, outputs, backend="reference")
