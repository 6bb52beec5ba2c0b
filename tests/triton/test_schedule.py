"""The instructions of a segment compute what its steps do: both carried out on symbols, for every network of the table."""

import pytest

import torchtangents as tt
from torchtangents.engine import lowering
from torchtangents.engine.operations import Kind
from torchtangents.engine.segments import Gather

from ..cases import BY_REFERENCE, NETS, inputs

pytest.importorskip("triton")
from torchtangents.triton.schedule import Move, Schedule, fits


def summed(parts):
    """A linear combination of symbols, {symbol: weight}; as a symbol of its own a sorted tuple."""
    out = {}
    for weight, value in parts:
        for symbol, factor in value.items():
            out[symbol] = out.get(symbol, 0.0) + weight * factor
    return {s: round(w, 9) for s, w in out.items() if w}


def opaque(*what):
    return {what: 1.0}


def frozen(value):
    return tuple(sorted(((repr(s), w) for s, w in value.items())))


def operated(value, operations):
    for o in operations:
        if o.kind == Kind.AFFINE:
            scale, b2, grow, shift = o.constants
            plain = scale != 1.0 and not (b2 or grow or shift)
            value = summed([(scale, value)]) if plain else opaque("affine", o.constants, frozen(value))
        else:
            level, bend, _, folded = o.constants
            value = opaque("relu", level / bend, frozen(value))
            value = value if folded else summed([(bend, value)])
    return value


def by_steps(steps):
    values = {}
    for i, step in enumerate(steps):
        sources = [values[id(s)] for s in step.sources]
        if step.gather in (Gather.INPUT, Gather.LOAD):
            value = opaque("given", i)
        elif step.gather == Gather.MIX:
            value = summed(zip(step.weights or [1.0] * len(sources), sources, strict=True))
        else:
            value = moved(step, sources[0])
        values[id(step)] = operated(value, step.operations)
    return values[id(steps[-1])]


def moved(step, value):
    taps = [(by, tuple(offsets)) for by, offsets in step.taps]
    return value if taps == [(1, (0,)), (1, (0,))] else opaque("window", tuple(taps), frozen(value))


def by_instructions(schedule, steps):
    memory, register = {}, {}
    for launch in schedule.launches:
        if isinstance(launch, Move):
            step = steps[launch.step]
            given = opaque("given", launch.step)
            if launch.source is not None:
                before = memory[schedule.levels[launch.source], schedule.places[launch.source]]
                given = opaque("window", tuple((by, tuple(offsets)) for by, offsets in step.taps), frozen(before))
            memory[launch.level, schedule.places[~launch.step]] = given
            continue
        register = opaque("given", schedule.number[id(launch.source)]) if launch.source else opaque("nothing")
        for i in launch.instructions:
            if i.add is not None:
                register = summed([(i.w, register), (i.v, memory[launch.level, schedule.places[i.add]])])
            if i.window:
                register = opaque("window", ((1, (-1, 0, 1)), (1, (-1, 0, 1))), frozen(register))
            if i.affine is not None and i.affine != (1.0, 0.0, 0.0, 0.0):
                scale, b2, grow, shift = i.affine
                plain = not (b2 or grow or shift)
                register = summed([(scale, register)]) if plain else opaque("affine", i.affine, frozen(register))
            if i.relu is not None:
                register = opaque("relu", i.relu[2], frozen(register))
            if i.keep is not None:
                memory[launch.level, schedule.places[i.keep]] = register
        assert len(memory) <= sum(schedule.most.values())
    return register


@pytest.mark.parametrize("name", [n for n in NETS if n not in BY_REFERENCE])
def test_instructions_are_the_steps(name, monkeypatch):
    found = []
    make = lowering.Lowering.__init__

    def kept(self, *args, **kwargs):
        make(self, *args, **kwargs)
        found.append(self)

    monkeypatch.setattr(lowering.Lowering, "__init__", kept)
    tt.kernels(NETS[name](), inputs(name, 1), inputs(name, 1, seed=1))
    for low in found:
        for segment in low.segments:
            steps = segment.steps
            if low.own or not fits(steps):
                continue
            levels = [(low.sizes(s.node)[0], s.stride) for s in steps]
            for keep in (True, False):
                assert by_instructions(Schedule(steps, levels, keep), steps) == by_steps(steps)
