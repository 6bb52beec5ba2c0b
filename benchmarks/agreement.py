"""Do two sides compute the same kernels? Asked on a few entries, before anything is timed."""

from __future__ import annotations

import numpy as np

from . import inputs
from .cases import Case
from .sides import Side

TOLERANCE = 1e-4
SIZES = (2, 2)


def worst_error(case: Case, ours: Side, theirs: Side, outputs: tuple[str, ...]) -> float:
    """The largest |a - b| / sqrt(k11 k22): ours in float32, as it is timed, against theirs in float64."""
    x1, x2 = inputs.draw(case, SIZES)
    pair = [ours.diagonal(case.net, x1 if x is None else x) for x in (x1, x2)]
    scales = dict(zip(("nngp", "ntk"), zip(*pair, strict=True), strict=True))
    answers = []
    for side, dtype in ((ours, np.float32), (theirs, np.float64)):
        side.prepare(case.net, x1.astype(dtype), None if x2 is None else x2.astype(dtype), outputs)
        side.run()
        answers.append([a.astype(np.float64) for a in side.answer()])
    worst = 0.0
    for output, a, b in zip(outputs, *answers, strict=True):
        if a.shape != b.shape:
            return float("inf")
        k11, k22 = (k.astype(np.float64) for k in scales[output])
        worst = max(worst, float(np.nan_to_num(np.abs(a - b) / np.sqrt(np.outer(k11, k22)), nan=np.inf).max()))
    return worst
