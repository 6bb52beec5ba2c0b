"""Rows of the CSV, appended one by one; and the record of runs beside it, in JSON."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Key:
    """What a row is about; `kernel` is "nngp", "ntk" or "finite"."""

    model: str
    kernel: str
    preprocessing: str
    size: int
    subset: int


@dataclass(frozen=True)
class Row(Key):
    """A training set and a kernel. Errors are standard errors over test images, by bootstrap; see `evaluate`."""

    accuracy: float
    accuracy_error: float
    log_likelihood: float
    log_likelihood_error: float
    diag_reg: float
    temperature: float
    chosen_by: str
    test_images: int

    @property
    def key(self) -> Key:
        """Without what was measured."""
        return Key(*(getattr(self, field.name) for field in fields(Key)))


def read(path: Path) -> list[Row]:
    """The rows of a CSV file, none where it does not exist; a last line cut short by a crash does not count."""
    if not path.exists():
        return []
    kinds = {field.name: {"int": int, "float": float, "str": str}[str(field.type)] for field in fields(Row)}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != list(kinds):
            raise ValueError(f"{path}: expected the columns {', '.join(kinds)}, got {reader.fieldnames}; move it out of the way")
        whole = [line for line in reader if None not in line.values()]
    return [Row(**{name: kind(line[name]) for name, kind in kinds.items()}) for line in whole]


def append(path: Path, row: Row) -> None:
    """One more row, on disk when this returns."""
    old = path.read_text() if path.exists() else ""
    if old and not old.endswith("\n"):  # cut short by a crash
        path.write_text(old[: old.rfind("\n") + 1])
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        if not old:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in asdict(row).items()})


class Record:
    """The JSON file: the data and settings that all rows share, and for each run its command, machine, times and work.

    Runs of different models may go on at once: each changes its own entry.

    Raises:
        ValueError: the file has other data or settings: rows of two experiments would mix.
    """

    def __init__(self, path: Path, shared: dict[str, Any], run: dict[str, Any]):
        self.path, self.run = path, run
        self.shared: dict[str, Any] = json.loads(json.dumps(shared))  # lists for tuples
        self.earlier = dict(run)
        content = self._content()
        found = {name: content.get(name) for name in self.shared}
        if found != self.shared:
            raise ValueError(
                f"{path}: expected results of {self.shared}, found those of {found}; choose another folder with --out"
            )

    def save(self, **changes: Any) -> None:
        """Change this run's entry and write the file."""
        content = self._content()
        content["runs"] = [run for run in content["runs"] if run != self.earlier]
        self.run.update(changes)
        self.earlier = json.loads(json.dumps(self.run))
        content["runs"].append(self.earlier)
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(content, indent=1) + "\n")
        new.replace(self.path)

    def _content(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else {**self.shared, "runs": []}
