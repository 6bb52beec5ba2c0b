"""Runs: maximal stretches of plane-local steps, which a backend executes a few planes at a time."""

from __future__ import annotations

from dataclasses import dataclass

from ..covariance.node import Node


@dataclass(frozen=True)
class Run:
    """Steps that lead from stored values (`sources`) to one stored value (`target`, the last step)."""

    steps: tuple[Node, ...]
    sources: tuple[Node, ...]

    @property
    def target(self) -> Node:
        """The step whose value is stored."""
        return self.steps[-1]

    @property
    def local(self) -> bool:
        """Whether every plane can be computed on its own."""
        return all(step.local for step in self.steps)


def runs_of(steps: list[Node], needed: set[Node]) -> list[Run]:
    """The program as runs, in order. Stored: the output, what mixes planes and its inputs, and what two runs share."""
    present = [s for s in steps if s in needed]
    consumers: dict[Node, set[Node]] = {s: set() for s in present}
    for step in present:
        for i in step.inputs:
            if i in consumers:
                consumers[i].add(step)
    stored = {s for s in present if not consumers[s] or not s.local}
    stored |= {i for s in present if not s.local for i in s.inputs}
    owner: dict[Node, Node] = {}
    for step in reversed(present):  # a step that two stored values need is stored itself
        owners = {c if c in stored else owner[c] for c in consumers[step]}
        if step in stored or len(owners) != 1:
            stored.add(step)
        else:
            (owner[step],) = owners
    out = []
    for target in present:
        if target in stored:
            inside = [s for s in present if s is target or owner.get(s) is target]
            held = dict.fromkeys(i for s in inside for i in s.inputs if i in stored)
            out.append(Run(tuple(inside), tuple(held)))
    return out
