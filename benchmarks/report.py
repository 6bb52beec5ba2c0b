"""The table that a run prints, a line for each case and peer."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    "case", "peer", "N ours", "N peer", "ours ms/entry", "peer ms/entry", "ratio", "ours MiB", "peer MiB",
    "ours first s", "peer first s",
)  # fmt: skip
WIDTHS = (22, 16, 10, 10, 14, 14, 9, 9, 9, 13, 13)


def title(machine: dict[str, Any]) -> str:
    """What it runs on, in a line."""
    sets = ", ".join(machine["instruction_sets"])
    return f"{machine['cpu']}, {machine['cores']} cores, {sets}; {machine['date']}, commit {machine['commit'][:12]}"


def header() -> str:
    """The names of the columns."""
    return _line(COLUMNS)


def row(record: dict[str, Any]) -> str:
    """One record; what was not timed says why."""
    name, peer = record["case"], record["peer"] or "-"
    if record["status"] != "timed":
        return f"{name:{WIDTHS[0]}}{peer:{WIDTHS[1]}}{record['status']}: {record['reason']}"
    cells: list[str] = [name, peer]
    sides = (record["ours"], record.get("theirs"))
    cells += [f"{s['pairs'][0]}x{s['pairs'][1]}" if s else "-" for s in sides]
    cells += [_number(1e3 * s["seconds_per_entry"]) if s else "-" for s in sides]
    cells.append(_number(record["ratio"]) if "ratio" in record else "-")
    cells += [_number(s["memory_mib"]) if s else "-" for s in sides]
    cells += [_number(s["first_call_seconds"]) if s else "-" for s in sides]
    return _line(cells)


def _line(cells: tuple[str, ...] | list[str]) -> str:
    left = "".join(f"{cell:{width}}" for cell, width in zip(cells[:2], WIDTHS[:2], strict=True))
    return left + "".join(f"{cell:>{width}}" for cell, width in zip(cells[2:], WIDTHS[2:], strict=True))


def _number(value: float) -> str:
    """Three digits, without exponents where people read better without."""
    if value == 0 or 1e-6 <= abs(value) < 1e6:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else None
        return f"{value:.{digits}f}" if digits is not None else f"{value:.2g}" if abs(value) >= 1e-4 else f"{value:.2e}"
    return f"{value:.2e}"
