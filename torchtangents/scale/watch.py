"""What someone who waits sees: the size before it starts, a bar over tiles, and a record of each."""

from __future__ import annotations

import sys
from typing import Any

from .store import Store

_PATIENCE = 1.0  # seconds before a bar appears


class Watch:
    """A bar over the tiles of a store that are computed now."""

    def __init__(self, store: Store, count: int, progress: bool | None):
        self.store, self.count, self.progress = store, count, progress

    def __enter__(self) -> Watch:
        from tqdm.auto import tqdm

        done = self.store.grid.count - self.count
        self.bar = tqdm(
            total=self.store.grid.count, initial=done, unit="tile", desc=self.store.root.name, leave=bool(self.progress),
            disable=self.progress is False or (self.progress is None and self.count < 2), delay=0 if self.progress else _PATIENCE,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def done(self, record: dict[str, Any]) -> None:
        """One more tile is stored."""
        self.store.record(record)
        self.bar.update(1)


def announce(message: str, progress: bool | None) -> None:
    """Say what is about to happen."""
    if progress is not False:
        print(message, file=sys.stderr, flush=True)
