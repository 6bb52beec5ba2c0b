"""Bad tensors given to compiled plans: each raises, and nothing is written. Plans themselves come from engine/lowering.py."""

import pytest
import torch

from torchtangents import native
from torchtangents.engine.operations import Kind
from torchtangents.engine.segments import Gather

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled extension is not in use")

SIZE, POSITIONS = (2, 3), 6  # one channel
PLANES = [(a, b, False, False) for a in (-1, 0, 1) for b in (-2, -1, 0, 1, 2)]
AFFINE, RELU = [2.0, 0.5, 2.0, 0.5], [0.5, 0.22507907903927652, 1.0, 0.0]  # level, and 1 / (sqrt(2) pi)
ONCE = (1, [0])
UNTOUCHED = -7.0
INPUT = dict(gather=int(Gather.INPUT), size1=SIZE, size2=SIZE, stride=(1, 1), data=(1, 0, 0))
MAP = dict(gather=int(Gather.MAP), size1=SIZE, size2=SIZE, stride=(1, 1), sources=[0])
MIX = dict(gather=int(Gather.MIX), size1=SIZE, size2=SIZE, stride=(1, 1), sources=[0], weights=[1.0])
LOAD = dict(gather=int(Gather.LOAD), size1=SIZE, size2=SIZE, stride=(1, 1), stored=0)


class Sketch:
    """A plan, and what its run expects; every method of the plan gives the sketch."""

    def __init__(self, **options):
        self.given = dict(ntk=True, flat=False, single=True, inputs1=POSITIONS, inputs2=POSITIONS, out1=POSITIONS, out2=POSITIONS)
        self.given.update(options)
        self.plan, self.slots = native._native.Plan(**self.given), 0

    def __getattr__(self, name):
        def call(*args, **options):
            getattr(self.plan, name)(*args, **options)
            self.slots += args[0] if name == "slot" else 0
            return self

        return call

    def start(self):
        """A segment whose one step reads the data."""
        return self.segment(PLANES, True).step(buffer=0, **INPUT)

    def run(self):
        """With data that fit, whatever the plan."""
        numbers = {}
        for side, rows in ((1, 3), (2, 4)):
            numbers[f"x{side}"] = torch.ones(rows, self.given[f"inputs{side}"])
            numbers[f"narrow{side}"] = torch.ones(rows, self.slots)
        for name in ("nngp", "ntk"):
            numbers[name] = torch.full((3, 4 * self.given["out1"] * self.given["out2"]), UNTOUCHED)
        self.plan.run(**{**arguments(), **numbers})
        return self


def started(**options):
    return Sketch(**options).start()


def made(**options):
    """K = ReLU(2 x x' + 0.5) at every pair of positions."""
    return started(**options).slot(POSITIONS, POSITIONS).op(int(Kind.AFFINE), [], AFFINE).op(int(Kind.RELU), [0], RELU)


def kept(single=True):
    """Standard deviations of every input, for the plan above."""
    plan = Sketch(ntk=False, single=single).segment([(0, 0, True, False)], False).step(buffer=0, **INPUT)
    return plan.slot(POSITIONS, POSITIONS).op(int(Kind.AFFINE), [], AFFINE).op(int(Kind.RECORD), [0], [1.0, 1e30])


def outputs(rows=3, columns=4, positions=POSITIONS, dtype=torch.float32):
    return torch.full((rows, columns * positions**2), UNTOUCHED, dtype=dtype)


def arguments(**changes):
    x1, x2 = (torch.arange(n * POSITIONS, dtype=torch.float32).reshape(n, POSITIONS) / 10 for n in (3, 4))
    given = dict(
        x1=x1, x2=x2, norm1=None, norm2=None, close=0.0, wide1=None, wide2=None, shared=False, range=(0, 3, 0, 4), threads=2
    )
    given.update(narrow1=(2 * x1**2 + 0.5).sqrt(), narrow2=(2 * x2**2 + 0.5).sqrt(), nngp=outputs(), ntk=outputs(), **changes)
    return given


def changed(**changes):
    return lambda given: given.update(changes)


def each(name, change):
    """Changes one argument."""

    def apply(given):
        given[name] = change(given[name])

    return apply


def overlapping(first, second, step=1):
    """Two arguments `step` numbers apart in one piece of memory."""

    def apply(given):
        one, two = given[first], given[second]
        memory = torch.full((one.numel() + two.numel() + step,), UNTOUCHED)
        given[first] = memory[: one.numel()].view_as(one)
        given[second] = memory[step : step + two.numel()].view_as(two)

    return apply


def same(given):
    given["ntk"] = given["nngp"]


def read_only(x):
    x = x.numpy()
    x.flags.writeable = False
    return x


TENSORS = ("x1", "x2", "narrow1", "narrow2", "nngp", "ntk")
CHANGES = {
    "a slice": lambda x: torch.stack([x, x], -1)[..., 0],
    "transposed": lambda x: x.t().contiguous().t(),
    "float64": lambda x: x.double(),
    "float16": lambda x: x.half(),
    "int32": lambda x: x.int(),
    "complex": lambda x: torch.complex(x, x),
    "meta": lambda x: x.to("meta"),
    "1 axis": lambda x: x.flatten(),
    "3 axes": lambda x: x[None],
    "a column less": lambda x: x[:, :-1].contiguous(),
    "no columns": lambda x: x[:, :0].contiguous(),
    "a list": lambda x: x.tolist(),
    "one row expanded": lambda x: x[:1].expand(len(x), -1),
}
BAD_RUNS = {f"{name}: {what}": each(name, change) for name in TENSORS for what, change in CHANGES.items()}
BAD_RUNS |= {f"{name}: a row more": each(name, lambda x: torch.cat([x, x[:1]])) for name in TENSORS[2:]}
BAD_RUNS |= {f"{name}: None": changed(**{name: None}) for name in TENSORS}
BAD_RUNS |= {f"{name}: read only": each(name, read_only) for name in ("nngp", "ntk")}
BAD_RUNS |= {
    f"{out} overlaps {name}": overlapping(name, out) for out in ("nngp", "ntk") for name in ("x1", "x2", "narrow1", "narrow2")
}
BAD_RUNS |= {f"{name} overlaps {out}'s end": overlapping(out, name, 1) for out in ("nngp", "ntk") for name in ("x1", "narrow2")}
BAD_RUNS |= {
    "ntk is nngp": same,
    "ntk overlaps nngp": overlapping("nngp", "ntk"),
    "ntk overlaps nngp's last number": overlapping("nngp", "ntk", outputs().numel() - 1),
    "norms of a plan without products": changed(norm1=torch.ones(3), norm2=torch.ones(4)),
    "one norm alone": changed(norm1=torch.ones(3)),
    "the other norm alone": changed(norm2=torch.ones(4)),
    "wide numbers of one side": changed(wide1=torch.ones(3, 6).double()),
    "wide numbers of a narrow plan": changed(wide1=torch.ones(3, 6).double(), wide2=torch.ones(4, 6).double()),
    "range before the first": changed(range=(-1, 3, 0, 4)),
    "range beyond x1": changed(range=(0, 4, 0, 4)),
    "range beyond x2": changed(range=(0, 3, 0, 5)),
    "range backwards": changed(range=(2, 1, 0, 4)),
    "range beyond 64 bits": changed(range=(0, 1 << 64, 0, 4)),
    "range of three": changed(range=(0, 3, 0)),
    "shared by two data sets": changed(shared=True),
    "unknown instructions": changed(instructions="sse9"),
    "instructions as a number": changed(instructions=7),
    "threads beyond 32 bits": changed(threads=1 << 40),
    "close as a string": changed(close="0"),
}


def refused(call, given, names=("nngp", "ntk")):
    """Raises, and leaves the outputs as they were."""
    with pytest.raises((TypeError, ValueError)):
        call(**given)
    for name in names:
        out = given[name]
        if isinstance(out, torch.Tensor) and out.device.type == "cpu" and out.is_floating_point():
            assert (out == UNTOUCHED).all()


def test_a_plan_computes():
    given = arguments()
    made().plan.run(**given)
    x1, x2 = given["x1"].double(), given["x2"].double()
    k = 2 * x1[:, None, :, None] * x2[None, :, None, :] + 0.5
    m = given["narrow1"].double()[:, None, :, None] * given["narrow2"].double()[None, :, None, :]
    theta = (k / m).clamp(-1, 1).acos()
    expected = (m * theta.sin() + (torch.pi - theta) * k) / (2 * torch.pi)
    torch.testing.assert_close(given["nngp"].double(), expected.reshape(3, -1), rtol=1e-5, atol=1e-5)


def test_a_plan_keeps_standard_deviations():
    given = arguments()
    out = torch.empty(4, POSITIONS, dtype=torch.float64)
    kept().plan.keep(x=given["x2"], norms=None, out=out, threads=1)
    torch.testing.assert_close(out.float(), given["narrow2"])


@pytest.mark.parametrize("threads", [-1, 0, 1, 7, 2**31 - 1])
def test_any_number_of_threads(threads):
    given, expected = arguments(threads=threads), arguments(threads=1)
    made().plan.run(**given)
    made().plan.run(**expected)
    assert torch.equal(given["nngp"], expected["nngp"])


@pytest.mark.parametrize(("name", "change"), BAD_RUNS.items())
def test_bad_arguments_of_run(name, change):
    given = arguments()
    change(given)
    refused(made().plan.run, given)


def test_no_inputs_are_no_error():
    given = arguments()
    given |= dict(x1=given["x1"][:0], narrow1=given["narrow1"][:0], nngp=outputs(0), ntk=outputs(0), range=(0, 0, 0, 4))
    made().plan.run(**given)


BAD_KEEPS = {f"{name}: {what}": each(name, CHANGES[what]) for name in ("x", "out") for what in CHANGES if what != "float64"}
BAD_KEEPS |= {
    "x: float64": each("x", CHANGES["float64"]),
    "out: float32": each("out", lambda x: x.float()),
    "out: a row less": each("out", lambda x: x[:-1]),
    "out: read only": each("out", read_only),
    "norms of a plan without products": changed(norms=torch.ones(4)),
    "unknown instructions": changed(instructions="sse9"),
}


@pytest.mark.parametrize(("name", "change"), BAD_KEEPS.items())
def test_bad_arguments_of_keep(name, change):
    out = torch.full((4, POSITIONS), UNTOUCHED, dtype=torch.float64)
    given = dict(x=arguments()["x2"], norms=None, out=out, threads=2)
    change(given)
    refused(kept().plan.keep, given, ("out",))


def test_keep_refuses_an_output_over_its_input():
    memory = torch.full((4, POSITIONS), UNTOUCHED, dtype=torch.float64)
    with pytest.raises(ValueError, match="overlap"):
        kept(single=False).plan.keep(x=memory, norms=None, out=memory, threads=1)
    assert (memory == UNTOUCHED).all()


NOTHING = torch.empty(1, 0)
BAD_MIRRORS = {f"out: {what}": each("out", change) for what, change in CHANGES.items() if what != "float64"}
BAD_MIRRORS |= {f"positions: {positions}": changed(positions=positions) for positions in (-6, 0, 5, 7, 1 << 64)}
BAD_MIRRORS |= {
    "no numbers, and positions whose square is 0 in 64 bits": changed(out=NOTHING, positions=1 << 32, end=1),
    "no numbers, and positions beyond": changed(out=NOTHING, positions=1 << 62, end=1),
    "out: read only": each("out", read_only),
    "rows before the first": changed(begin=-1),
    "rows beyond the last": changed(end=3),
    "rows backwards": changed(begin=2, end=1),
}


@pytest.mark.parametrize(("name", "change"), BAD_MIRRORS.items())
def test_bad_arguments_of_mirror(name, change):
    given = dict(out=outputs(2, 2), positions=POSITIONS, begin=0, end=2, threads=1)
    change(given)
    refused(native._native.mirror, given, ("out",))


@pytest.mark.parametrize(
    "options", [{name: value} for name in ("inputs1", "inputs2", "out1", "out2") for value in (0, -1, 1 << 64, 1.5, None)]
)
def test_bad_sizes_of_a_plan(options):
    with pytest.raises((TypeError, ValueError)):
        Sketch(**options)


ONE = {"size1": (1, 1), "size2": (1, 1)}


def table(plane=0, position=0, lowest=0, positions=1, start=(0, 1)):
    """One axis of a reduction, with one entry."""
    return (lowest, positions, list(start), [plane], [position], [1.0])


def reducing(*tables):
    """Adds one plane to a stored one of a single position, which is the kernel."""
    plan = Sketch(out1=1, out2=1).stored((1, 1), (1, 1), [0], [0], [False]).segment([(0, 0, False, False)], False)
    plan.step(buffer=0, **{**INPUT, **ONE}).reduce(0, list(tables))
    return plan.segment([(0, 0, False, False)], True).step(buffer=0, **{**LOAD, **ONE})


def loading(size1=SIZE, first=(-1, 0, 1), second=(-2, -1, 0, 1, 2)):
    """The kernel is a stored value."""
    plan = Sketch().stored(size1, SIZE, list(first), list(second), [False] * (len(first) * len(second)))
    return plan.segment(PLANES, True).step(buffer=0, **LOAD)


def many(steps):
    plan = started()
    for i in range(1, steps):
        plan.step(buffer=i % 2, **{**MIX, "sources": [i - 1]})
    return plan


@pytest.mark.parametrize(
    "plan", [made, lambda: reducing(table(), table()), loading, lambda: many(96), lambda: started().step(buffer=1, **MIX)]
)
def test_good_plans_run(plan):
    plan().run()


@pytest.mark.parametrize("buffer", [0, 1])
def test_a_function_of_a_sum_is_computed_beside_it_only_where_nothing_is_overwritten(buffer):
    size, count = (5, 3), 15  # rows that are read after others were written
    window = {"taps": [(1, [-1, 0, 1])] * 2}
    x = torch.rand(4, count, generator=torch.Generator().manual_seed(0))

    def kernels(buffer):
        """window(ReLU(window(K) + K / 2)), the ReLU in the buffer of a source or one of its own; all have the same ring."""
        plan = Sketch(inputs1=count, inputs2=count, out1=count, out2=count).slot(count, count)
        plan.segment([(a, b, False, False) for a in range(-4, 5) for b in range(-2, 3)], True)
        given = {"size1": size, "size2": size}
        plan.step(buffer=0, **INPUT | given).step(buffer=1, **MIX | given)
        plan.step(buffer=2, **MAP | given | window | {"sources": [0, 1], "weights": [1.0, 0.5]})
        plan.op(int(Kind.AFFINE), [], AFFINE)
        plan.step(buffer=buffer, **MIX | given | {"sources": [2]}).op(int(Kind.RELU), [0], [*RELU[:3], 1.0])
        plan.step(buffer=4, **MAP | given | window | {"sources": [3]})
        numbers = torch.full((4, count), 5.0)  # standard deviations that such sums may have
        given = {f"{name}{side}": value for name, value in (("x", x), ("narrow", numbers)) for side in (1, 2)}
        out = {name: outputs(4, 4, count) for name in ("nngp", "ntk")}
        plan.plan.run(**{**arguments(), **given, **out, "range": (0, 4, 0, 4)})
        return out.values()

    for mine, other in zip(kernels(buffer), kernels(3), strict=True):
        assert mine.isfinite().all()
        assert torch.equal(mine, other)


def second(step, **changes):
    """A plan with one more step."""
    return lambda: started().step(**{"buffer": 1, **step, **changes})


BAD_PLANS = {
    "gather 5": second(INPUT, gather=5),
    "gather -1": second(INPUT, gather=-1),
    "no positions": second(INPUT, size1=(0, 3)),
    "fewer than no positions": second(INPUT, size2=(2, -3)),
    "no stride": second(INPUT, stride=(0, 1)),
    "no channels": second(INPUT, data=(0, 0, 0)),
    "channels beyond the data": second(INPUT, data=(2, 0, 0)),
    "channels before the data": second(INPUT, data=(1, -1, 0)),
    "channels after the data": second(INPUT, data=(1, 0, 1)),
    "more positions than data": second(INPUT, size1=(3, 3)),
    "positions beyond 32 bits": second(INPUT, size1=(1 << 40, 3)),
    "three axes": second(INPUT, size1=(2, 3, 1)),
    "a source of its own": second(MIX, sources=[1]),
    "a source before the first": second(MIX, sources=[-1]),
    "a mix without weights": second(MIX, weights=[]),
    "a mix of nothing": second(MIX, sources=[], weights=[]),
    "a map without windows": second(MAP, taps=[]),
    "a map along one axis": second(MAP, taps=[ONCE]),
    "a map of two": second(MAP, sources=[0, 0], taps=[ONCE, ONCE]),
    "a map of two with one weight": second(MAP, sources=[0, 0], weights=[1.0], taps=[ONCE, ONCE]),
    "a map of three": second(MAP, sources=[0, 0, 0], weights=[1.0] * 3, taps=[ONCE, ONCE]),
    "a sum over fewer positions": second(MIX, size1=(2, 2)),
    "a sum over more positions": second(MAP, sources=[0, 0], weights=[1.0, 1.0], size2=(3, 3), taps=[ONCE, ONCE]),
    "a sum of another stride": second(MIX, stride=(2, 1)),
    "a window of nothing": second(MAP, taps=[ONCE, (1, [])]),
    "a window backwards": second(MAP, taps=[ONCE, (1, [1, 0])]),
    "a step of 0": second(MAP, taps=[ONCE, (0, [0])]),
    "a source of another stride": second(MAP, taps=[ONCE, (2, [0])]),
    "nothing stored": second(LOAD),
    "nothing stored at -1": second(LOAD, stored=-1),
    "the buffer of a source": second(MIX, buffer=0),
    "buffer -1": second(MIX, buffer=-1),
    "no segments": Sketch,
    "no steps": lambda: Sketch().segment(PLANES, True),
    "97 steps": lambda: many(97),
    "a step before a segment": lambda: Sketch().step(buffer=0, **INPUT),
    "an operation before a step": lambda: Sketch().op(int(Kind.AFFINE), [], AFFINE),
    "an operation of no kind": lambda: started().op(len(Kind), [], AFFINE),
    "an operation of kind -1": lambda: started().op(-1, [], AFFINE),
    "a slot that is not there": lambda: made().op(int(Kind.RELU), [1], RELU),
    "slot -1": lambda: made().op(int(Kind.RELU), [-1], RELU),
    "a slot of nothing": lambda: Sketch().slot(0, 6),
    "a table without numbers": lambda: made().op(int(Kind.TABLE), [0], []),
    "a table too short": lambda: made().op(int(Kind.TABLE), [0], [2.0, 2.0, 0.0, 0.0] + [0.0] * 15),
    "a table too large": lambda: made().op(int(Kind.TABLE), [0], [33.0, 2.0, 0.0, 0.0] + [0.0] * 4 * 33**2),
    "a table of nan": lambda: made().op(int(Kind.TABLE), [0], [float("nan")] * 20),
    "stored without planes": lambda: Sketch().stored(SIZE, SIZE, [], [0], []),
    "stored without order": lambda: Sketch().stored(SIZE, SIZE, [1, 0], [0], [False, False]),
    "stored without precisions": lambda: Sketch().stored(SIZE, SIZE, [0], [0], []),
    "a reduction to nowhere": lambda: started().reduce(0, [table(), table()]),
    "a reduction along one axis": lambda: reducing(table()),
    "a reduction with fewer entries": lambda: reducing(table(start=(0, 2)), table()),
    "a reduction backwards": lambda: reducing(table(start=(1, 0)), table()),
    "a reduction without a start": lambda: reducing(table(start=()), table()),
}


@pytest.mark.parametrize(("name", "plan"), BAD_PLANS.items())
def test_bad_plans(name, plan):
    with pytest.raises((TypeError, ValueError)):
        plan().run()
