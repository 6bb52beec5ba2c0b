"""Times one case against one peer: first whether they agree, then turn by turn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from . import inputs, peers
from .agreement import TOLERANCE, worst_error
from .cases import Case
from .sides import NotInstalled, Side, SideError

BOTH = ("nngp", "ntk")


@dataclass
class Effort:
    """How long to measure: at least `repeats` turns, more until one side has had `budget` seconds, never more than `most`."""

    repeats: int = 3
    budget: float = 30.0
    most: int = 25

    def enough(self, turns: list[list[float]]) -> bool:
        """Whether to stop."""
        done = min(map(len, turns))
        return done >= self.most or (done >= self.repeats and max(map(sum, turns)) >= self.budget)


@dataclass
class Bench:
    """Compares cases; keeps one warm side of each name for the agreement, and starts fresh ones to time."""

    effort: Effort
    start: Callable[[str], Side] = Side
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self._warm: dict[str, Side] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def compare(self, case: Case, peer: str) -> dict[str, Any]:
        """One record of the report: "timed", "disagrees", "skipped" or "failed", with the numbers or the reason."""
        record: dict[str, Any] = {"case": case.name, "peer": peer, "sweep": case.sweep}
        try:
            side = peers.module(peer)
            if not side.can(case):
                return {**record, "status": "skipped", "reason": "has no such layers"}
            outputs = side.OUTPUTS or BOTH
            if side.OUTPUTS:
                theirs, ours = self._checker(peer), self._checker(peers.OURS)
                record["error"] = worst_error(case, ours, theirs, outputs)
                if not record["error"] < TOLERANCE:
                    return {**record, "status": "disagrees", "reason": f"{record['error']:.1e} apart, expected < {TOLERANCE:g}"}
            sizes = {peers.OURS: case.ours, peer: case.peers[peer]}
            a, b = self._timed(case, sizes, outputs)
            ratio = b["seconds_per_entry"] / a["seconds_per_entry"]
            return {**record, "status": "timed", "outputs": outputs, "ours": a, "theirs": b, "ratio": ratio}
        except NotInstalled as error:
            return {**record, "status": "skipped", "reason": str(error)}
        except SideError as error:
            self._forget()
            return {**record, "status": "failed", "reason": str(error)}

    def alone(self, case: Case) -> dict[str, Any]:
        """A record of ours only."""
        record: dict[str, Any] = {"case": case.name, "peer": None, "sweep": case.sweep}
        try:
            (ours,) = self._timed(case, {peers.OURS: case.ours}, BOTH)
            return {**record, "status": "timed", "outputs": BOTH, "ours": ours}
        except SideError as error:
            return {**record, "status": "failed", "reason": str(error)}

    def _timed(self, case: Case, sizes: dict[str, tuple[int, int]], outputs: tuple[str, ...]) -> list[dict[str, Any]]:
        with ExitStack() as stack:
            sides = [stack.enter_context(self.start(name)) for name in sizes]
            for side, pairs in zip(sides, sizes.values(), strict=True):
                self.versions[side.name] = side.versions
                side.prepare(case.net, *inputs.draw(case, pairs), outputs)
            first = [side.run() for side in sides]
            turns: list[list[float]] = [[] for _ in sides]
            last = first
            while not self.effort.enough(turns):
                last = [side.run() for side in sides]
                for seconds, result in zip(turns, last, strict=True):
                    seconds.append(result["seconds"])
        return [
            {
                "pairs": pairs,
                "seconds": seconds,
                "median_seconds": median(seconds),
                "seconds_per_entry": median(seconds) / (pairs[0] * pairs[1]),
                "first_call_seconds": start["seconds"],
                "memory_mib": end["memory_mib"],
            }
            for pairs, seconds, start, end in zip(sizes.values(), turns, first, last, strict=True)
        ]

    def _checker(self, name: str) -> Side:
        if name not in self._warm:
            self._warm[name] = self._stack.enter_context(self.start(name))
        return self._warm[name]

    def _forget(self) -> None:
        """After an error the warm sides may be dead: start others."""
        self._stack.close()
        self._stack, self._warm = ExitStack(), {}
