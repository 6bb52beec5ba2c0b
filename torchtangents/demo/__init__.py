"""The demonstration: ensembles in training, outputs becoming Gaussian, and a table on images of digits."""

from __future__ import annotations

import time
from pathlib import Path

from . import digits, ensemble, gaussian

PARTS = {"ensemble": ensemble.run, "gaussian": gaussian.run, "digits": digits.run}


def run(out: Path, only: str | None = None, quick: bool = False) -> None:
    """Run every part, or `only` one, and write its files into the folder `out`; `quick` takes small sizes."""
    if only is not None and only not in PARTS:
        raise ValueError(f"only: expected one of {', '.join(PARTS)}, or None, got {only!r}.")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    for name, part in PARTS.items():
        if only in (None, name):
            part(out, quick)
    print(f"Took {time.perf_counter() - start:.0f} s.")
