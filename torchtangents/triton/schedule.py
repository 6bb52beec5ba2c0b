"""The steps of a segment as launches of packed planes: instructions in registers, and moves through memory between them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..engine.operations import Kind
from ..engine.segments import Gather, Step

Level = tuple  # size and stride of steps, whose planes are the same
Term = tuple[int, float]  # the number of a step, and its weight in a sum
Name = int | tuple[Term, ...]  # a value: of a step, before its operations where negative (~step), or a sum
_WINDOW = (1, [-1, 0, 1])
_HERE = (1, [0])


@dataclass
class Instruction:
    """register <- relu(affine(window(w register + v add))), kept in memory under a name."""

    add: Name | None = None
    w: float = 1.0
    v: float = 0.0
    window: bool = False
    affine: tuple[float, float, float, float] | None = None
    relu: tuple[int, int, float] | None = None  # step and operation that it is, level
    keep: Name | None = None


@dataclass
class Run:
    """Instructions on one level, in registers; `source` is the step of the data that they start from, if they do."""

    level: Level
    source: Step | None = None
    instructions: list[Instruction] = field(default_factory=list)


@dataclass
class Move:
    """A value of another layout: a strided or large window of `source`, or a stored value where that is None."""

    step: int
    source: int | None
    level: Level


def fits(steps: list[Step]) -> bool:
    """Whether there are instructions for all operations."""
    kinds = {o.kind for s in steps for o in s.operations}
    return kinds <= {Kind.AFFINE, Kind.RELU} and all(s.gather != Gather.MATRIX for s in steps)


class Schedule:
    """Launches in order, and where in the memory of its level each value is kept."""

    def __init__(self, steps: list[Step], levels: list[Level], keep_last: bool):
        self.steps, self.levels = steps, levels
        self.number = {id(s): i for i, s in enumerate(steps)}
        self.order = self._ordered()
        self.terms = {i: self._terms(steps[i]) for i in self.order if steps[i].gather == Gather.MIX}
        self.kept: set[Name] = set()
        self._emit_all()  # once to know what is read from memory
        self.kept = self._read() | ({len(steps) - 1} if keep_last else set())
        self._emit_all()
        self.places, self.most = self._memory()

    def _ordered(self) -> list[int]:
        """The steps, those of a level together as far as they can be, so that runs are few; the last one stays last."""
        before = [{self.number[id(s)] for s in step.sources} for step in self.steps]
        before[-1] = set(range(len(self.steps) - 1))
        left, order = list(range(len(self.steps))), []
        while left:
            ready = [i for i in left if before[i].isdisjoint(left)]
            here = [i for i in ready if order and self.levels[i] == self.levels[order[-1]]]
            order.append((here or ready)[0])
            left.remove(order[-1])
        return order

    def place(self, name: Name | None) -> int:
        """Where a value is kept, -1 for none."""
        return -1 if name is None else self.places[name]

    def alone(self, name: Name) -> bool:
        """Whether nothing else is kept in the memory of its level."""
        return [n for n in self.places if self._level(n) == self._level(name)] == [name]

    def _emit_all(self) -> None:
        self.launches: list[Run | Move] = []
        self.register: Name | None = None  # what the registers of the last run hold
        self.sums: set[Name] = set()
        for i in self.order:
            self._step(i, self.steps[i])

    def _read(self) -> set[Name]:
        return {name for launch in self.launches for name in _reads(launch)}

    def _memory(self) -> tuple[dict[Name, int], Counter[Level]]:
        """A place for every value that is kept, used again after the value was read last."""
        last = {name: at for at, launch in enumerate(self.launches) for name in _reads(launch)}
        places: dict[Name, int] = {}
        free: dict[Level, list[int]] = {}
        most: Counter[Level] = Counter()
        for at, launch in enumerate(self.launches):
            spare = free.setdefault(launch.level, [])
            for name in _writes(launch):
                if name not in places:
                    places[name] = spare.pop() if spare else most[launch.level]
                    most[launch.level] = max(most[launch.level], places[name] + 1)
            for name in {n for n in _reads(launch) if last[n] == at}:
                free.setdefault(self._level(name), []).append(places[name])
        return places, most

    def _level(self, name: Name) -> Level:
        step = name if isinstance(name, int) else name[0][0]
        return self.levels[~step if step < 0 else step]

    def _terms(self, step: Step) -> tuple[Term, ...]:
        weights = step.weights or [1.0] * len(step.sources)
        return tuple((self.number[id(s)], w) for s, w in zip(step.sources, weights, strict=True))

    def _run(self, level: Level, source: Step | None = None) -> Run:
        last = self.launches[-1] if self.launches else None
        if source is not None or not isinstance(last, Run) or last.level != level:
            last = Run(level, source)
            self.launches.append(last)
            self.register = None
        return last

    def _move(self, move: Move) -> None:
        """Before the run that goes on, if it can be."""
        last = self.launches[-1] if self.launches else None
        before = isinstance(last, Run) and last.level == move.level and self.levels[move.source] != move.level  # type: ignore[index]
        self.launches.insert(len(self.launches) - before, move)

    def _emit(self, i: int, instruction: Instruction) -> None:
        self._run(self.levels[i]).instructions.append(instruction)

    def _step(self, i: int, step: Step) -> None:
        if step.gather == Gather.INPUT:
            self._run(self.levels[i], step)
        elif step.gather == Gather.LOAD:
            self.launches.append(Move(i, None, self.levels[i]))
            self._take(i, ~i)
        elif step.gather == Gather.MIX:
            self._sum(i, self.terms[i])
        else:
            source = self.number[id(step.sources[0])]
            if step.taps == [_WINDOW, _WINDOW] and self.levels[source] == self.levels[i]:
                self._take(i, source)
                self._emit(i, Instruction(window=True, affine=(1.0, 0.0, 0.0, 0.0)))
            elif step.taps == [_HERE, _HERE] and self.levels[source] == self.levels[i]:
                self._take(i, source)
            else:
                self._move(Move(i, source, self.levels[i]))
                self._take(i, ~i)
        self._operations(i, step)
        self.register = i
        self._keep(i, i)

    def _keep(self, i: int, name: Name) -> None:
        if name in self.kept:
            last = self._last(i)
            if last is None:
                self._emit(i, Instruction(keep=name))
            else:
                last.keep = name

    def _take(self, i: int, name: Name, w: float = 0.0, v: float = 1.0) -> None:
        """The registers hold a value, or add it to w times what they hold."""
        self._run(self.levels[i])
        if self.register != name or w:
            self._emit(i, Instruction(add=name, w=w, v=v))
        self.register = name

    def _sum(self, i: int, terms: tuple[Term, ...]) -> None:
        """The longest part of the sum that is there already, then one term after the other."""
        known = [terms[:n] for n in range(len(terms), 1, -1) if terms[:n] in self.sums]
        if known:
            parts: list[tuple[Name, float]] = [(known[0], 1.0), *terms[len(known[0]) :]]
        else:
            parts = list(terms)
        self._run(self.levels[i])
        held = next((p for p in parts if p[0] == self.register), None)
        if held is None:
            held = parts[0]
            self._take(i, held[0])
        factor = held[1]
        rest = [p for p in parts if p is not held]
        for name, weight in rest:
            self._take(i, name, factor, weight)
            factor = 1.0
        if not rest and factor != 1.0:
            self._emit(i, Instruction(affine=(factor, 0.0, 0.0, 0.0)))
        self.register = None
        if any(other[: len(terms)] == terms for other in self._later(i)) and len(terms) > 1:
            self.sums.add(terms)
            self._keep(i, terms)

    def _later(self, i: int) -> list[tuple[Term, ...]]:
        """The sums that come after a step."""
        return [self.terms[j] for j in self.order[self.order.index(i) + 1 :] if j in self.terms]

    def _operations(self, i: int, step: Step) -> None:
        for place, operation in enumerate(step.operations):
            if operation.kind == Kind.AFFINE:
                self._affine(i, operation.constants)  # type: ignore[arg-type]
            else:
                level, bend, _, folded = operation.constants
                relu = (i, place, level / bend)
                last = self._last(i)
                if last is not None and last.relu is None:
                    last.relu = relu
                else:
                    self._emit(i, Instruction(relu=relu))
                if not folded:
                    self._emit(i, Instruction(affine=(bend, 0.0, 0.0, 0.0)))

    def _affine(self, i: int, constants: tuple[float, float, float, float]) -> None:
        last = self._last(i)
        if last is not None and last.window and last.affine == (1.0, 0.0, 0.0, 0.0) and last.relu is None:
            last.affine = constants
        else:
            self._emit(i, Instruction(affine=constants))

    def _last(self, i: int) -> Instruction | None:
        """The instruction that may go on with this step: the last one, if it keeps nothing."""
        run = self._run(self.levels[i])
        return run.instructions[-1] if run.instructions and run.instructions[-1].keep is None else None


def _reads(launch: Run | Move) -> list[Name]:
    if isinstance(launch, Move):
        return [] if launch.source is None else [launch.source]
    return [i.add for i in launch.instructions if i.add is not None]


def _writes(launch: Run | Move) -> list[Name]:
    return [~launch.step] if isinstance(launch, Move) else [i.keep for i in launch.instructions if i.keep is not None]
