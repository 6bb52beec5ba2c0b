"""Inputs of a case: random, the same on every side and in every run."""

from __future__ import annotations

import zlib

import numpy as np

from .cases import Case


def draw(case: Case, sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
    """x1 and x2 in float32, channels first, x2 None where it is x1.

    `case.duplicates` of the rows of x2 (at least one) are copies of rows of x1.
    """
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    x1, x2 = (generator.standard_normal((n, *case.shape), dtype=np.float32) for n in sizes)
    if case.duplicates:
        copies = min(max(1, round(case.duplicates * len(x2))), len(x1))
        x2[generator.choice(len(x2), copies, replace=False)] = x1[generator.choice(len(x1), copies, replace=False)]
    return x1, None if case.same else x2
