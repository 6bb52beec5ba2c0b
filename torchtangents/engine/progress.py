"""A bar over pieces of work, for those who wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

_PATIENCE = 1.0  # seconds before a progress bar appears


def watched(places: list, progress: bool | None, what: str = "kernel", unit: str = "tile") -> Iterator[Any]:
    """With a bar (`progress=True`), none (False), or one that appears when it takes long (None)."""
    if progress is False or (progress is None and len(places) < 2):
        yield from places
        return
    from tqdm.auto import tqdm

    start, waiting = time.monotonic(), progress is None
    bar = tqdm(total=len(places), unit=f" {unit}", desc=what, delay=_PATIENCE if waiting else 0, leave=bool(progress))
    with bar:
        for place in places:
            yield place
            bar.update(1)
            if waiting and time.monotonic() - start > _PATIENCE:
                waiting = False
                bar.refresh()
