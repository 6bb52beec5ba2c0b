"""What a stored kernel will cost: time, tiles, bytes on disk and memory, for any number of inputs and workers.

The model, in seconds. A *call* of the kernel on n1 x n2 inputs takes

    call + input (n1 + n2) + pair n1 n2,        or on the diagonal        call + input n + own n^2,

because each input's own pass is linear, and a tile is one call, or several where it is larger than a block (`work.BLOCK`).
Storing a tile takes `file` seconds a file and `byte` seconds a byte; a tile off the diagonal of a symmetric kernel is two files
a kind. One process computes while it writes: compute + write, less `overlap` times what would be hidden if neither slowed the
other, which is measured. A worker of a cluster does one after the other.
With M tiles of t seconds on w workers and a scheduler that takes o seconds a task,

    T = max(ceil(M / w) t, M o),        so workers are of use up to        w = t / o.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from ..engine.needs import self_needs
from ..trace import trace
from .chunks import chunk_bytes
from .grid import Grid
from .handle import sized
from .job import memory_of

_SIDES = range(64, 2049, 64)
_AS_GOOD = 1.02  # a tile within 2 % of the fastest one is as good, and fewer files
_SHOWN = (1, 4, 16, 64, 256)


class Costs(NamedTuple):
    """Seconds, fitted to measurements (see the formulas at the top of this file)."""

    call: float
    input: float
    pair: float
    own: float  # a pair of a call on the diagonal, both triangles counted
    file: float
    byte: float
    read: float  # a byte of the inputs, read and hashed once at the start


class Measured(NamedTuple):
    """One call that was timed; `own` for n1 inputs with themselves."""

    n1: int
    n2: int
    own: bool
    seconds: float


class Work(NamedTuple):
    """What calls on a tile, or on many, do."""

    calls: int
    inputs: int
    pairs: int
    own: int


@dataclass(frozen=True, repr=False)
class Estimate:
    """The cost of a stored kernel, as `tt.scale.estimate` measured it; times are in seconds unless a name says hours.

    Attributes:
        n1, n2: numbers of inputs; n2 None for x1 with itself.
        kinds: of "nngp" and "ntk".
        tile: inputs on a side of a tile; of one that is larger than the kernel, the kernel's size counts.
        dtype, itemsize: of the kernel, and bytes of one entry.
        row_bytes: of one input.
        costs: the fitted seconds a call, an input, a pair, a file and a byte.
        block: inputs on a side of the largest call.
        threads: of torch, in the process that measured: what one worker is taken to have.
        working_bytes: memory of a call beyond inputs and results.
        free_bytes: memory that was free.
        measured: the calls that were timed.
        overlap: of writing and computing in one process: 1 is all, 0 none, below it they hold each other up.
        workers: processes that compute.
        overhead: the scheduler's seconds a task, None where it was not measured.
        operations, own_operations: of one pair, and of one input's own pass, by `tt.trace`; None for a function.

    Example:
        >>> import torch, torchtangents as tt
        >>> found = tt.scale.estimate(tt.nn.Linear(2, 1), torch.randn(64, 2), seconds=0.1)
        >>> found.tiles(1_000_000, tile=1000), found.store_bytes(1_000_000, tile=1000) // 10**9
        (500500, 8000)
    """

    n1: int
    n2: int | None  # None for x1 with itself
    kinds: tuple[str, ...]
    tile: int  # inputs on a side of a tile; of one that is larger than the kernel, the kernel's size counts
    dtype: str
    itemsize: int  # bytes of one entry
    row_bytes: int  # of one input
    costs: Costs
    block: int  # inputs on a side of the largest call
    threads: int  # of torch, in the process that measured: what one worker is taken to have
    working_bytes: int  # memory of a call beyond inputs and results
    free_bytes: int  # memory that was free
    measured: tuple[Measured, ...]
    overlap: float = 1.0  # of writing and computing in one process: 1 is all, 0 none, below it they hold each other up
    workers: int = 1
    overhead: float | None = None  # the scheduler's seconds a task
    operations: int | None = None  # of one pair, by `tt.trace`; None for a function
    own_operations: int | None = None  # of one input's own pass

    def tiles(self, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> int:
        """How many tiles are computed."""
        return self._grid(n1, n2, tile).count

    def store_bytes(self, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> int:
        """Bytes on disk: both triangles of every kind, with padded edges."""
        grid = self._grid(n1, n2, tile)
        return len(self.kinds) * math.prod(grid.sides) * chunk_bytes(grid.tile, self._dtype)

    def memory_bytes(self, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> int:
        """Peak memory of one process, libraries and inputs in memory not counted: a tile's data, and the computation."""
        side = self._grid(n1, n2, tile).tile
        return memory_of(side, self.row_bytes, len(self.kinds), self.itemsize) + self.working_bytes

    def compute_seconds(self, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> float:
        """Seconds of one worker in all calls of the kernel."""
        return call_seconds(self.costs, self._work(n1, n2, tile))

    def write_seconds(self, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> float:
        """Seconds in which all tiles are written, one after the other."""
        grid = self._grid(n1, n2, tile)
        files = len(self.kinds) * math.prod(grid.sides)
        return files * (self.costs.file + self.costs.byte * chunk_bytes(grid.tile, self._dtype))

    def tile_seconds(self, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> float:
        """Seconds of one tile on one worker, computed and written, on average."""
        return (self.compute_seconds(n1, n2, tile=tile) + self.write_seconds(n1, n2, tile=tile)) / self.tiles(n1, n2, tile=tile)

    def seconds(
        self, n1: int | None = None, n2: int | None = None, workers: int | None = None, *, tile: int | None = None
    ) -> float:
        """Seconds from the call to the last tile, start-up of workers excluded.

        Args:
            n1, n2: inputs; None for those that were measured; n1 alone is n1 x n1 where the measured kernel was symmetric.
            workers: processes like the one that measured, each with a processor, memory and way to the disk of its own; 1 is this
                process without a scheduler. None for the number given to `estimate`.
            tile: inputs on a side; None for the measured choice.

        Raises:
            ValueError: several workers where the scheduler's overhead was not measured.

        Example:
            >>> import torch, torchtangents as tt
            >>> from torchtangents.scale.measure import estimate
            >>> net = torch.nn.Sequential(tt.nn.Linear(8, 1), torch.nn.ReLU(), tt.nn.Linear(1, 1))
            >>> cost = estimate(net, torch.randn(200, 8), seconds=1., tile=64, overhead=0.002)
            >>> cost.tiles(), cost.store_bytes(), cost.seconds(10**5) > 10 * cost.seconds(10**4)
            (10, 524416, True)
        """
        workers = self.workers if workers is None else workers
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ValueError(f"workers: expected a positive number of processes, got {workers!r}.")
        start = self.costs.read * self.row_bytes * sum(self._counts(n1, n2))
        count = self.tiles(n1, n2, tile=tile)
        if workers == 1:
            compute, write = self.compute_seconds(n1, n2, tile=tile), self.write_seconds(n1, n2, tile=tile)
            best = max(compute + write / count, write + compute / count)  # the last write, the first computation
            return start + compute + write - self.overlap * (compute + write - best)
        each = self.tile_seconds(n1, n2, tile=tile)
        return start + max(math.ceil(count / workers) * each, count * self._overhead())

    def hours(
        self, n1: int | None = None, n2: int | None = None, workers: int | None = None, *, tile: int | None = None
    ) -> float:
        """`seconds` in hours."""
        return self.seconds(n1, n2, workers, tile=tile) / 3600

    @property
    def workers_max(self) -> float:
        """The number of workers that the scheduler keeps busy: seconds of a tile / seconds of the scheduler a task."""
        return self.tile_seconds() / self._overhead()

    def efficiency(self, workers: int, n1: int | None = None, n2: int | None = None, *, tile: int | None = None) -> float:
        """The fraction of their time in which workers compute or write, from 0 to 1."""
        start = self.costs.read * self.row_bytes * sum(self._counts(n1, n2))
        busy = self.tile_seconds(n1, n2, tile=tile) * self.tiles(n1, n2, tile=tile)
        return min(1.0, busy / (workers * (self.seconds(n1, n2, workers, tile=tile) - start)))

    def best_tile(self, workers: int = 1, n1: int | None = None, n2: int | None = None, *, memory: float | None = None) -> int:
        """The largest side of a tile that is within 2 % of the fastest one: small tiles cost calls, files and tasks; large ones
        leave workers idle at the end, and pad more.

        Args:
            workers, n1, n2: as in `seconds`.
            memory: bytes that each process may take; None for a quarter of what was free.
        """
        most = self.free_bytes / 4 if memory is None else memory
        longest = max(self._counts(n1, n2))
        sides = [s for s in _SIDES if s == _SIDES[0] or (s < longest + _SIDES[0] and self.memory_bytes(n1, n2, tile=s) <= most)]
        times = {side: self.seconds(n1, n2, workers, tile=side) for side in sides}
        return max(side for side, time in times.items() if time <= _AS_GOOD * min(times.values()))

    def scaled(self, net: torch.nn.Module, shape: Any) -> Estimate:
        """The estimate for inputs of another size, e.g. larger images.

        Costs of an input and of a pair are multiplied by the ratio of arithmetic operations that `tt.trace` counts. That is a
        scaling model: caches, vector lengths and fixed costs do not enter. `benchmarks/cost.py` holds it to a factor of two.

        Args:
            net: the network for those inputs (a Linear after Flatten has more of them).
            shape: of the inputs, batch first.

        Raises:
            ValueError: the estimate is of a kernel function, whose operations are not known.
        """
        if self.operations is None:
            raise ValueError("scaled: expected an estimate of a module, got one of a kernel function; measure that anew.")
        pair, own = operations(net, shape)
        ratio = pair / self.operations
        ratio_own = own / self.own_operations if self.own_operations and own else ratio
        c = self.costs
        costs = c._replace(input=c.input * ratio_own, pair=c.pair * ratio, own=c.own * ratio)
        row = math.prod(tuple(shape)[1:]) * self.itemsize
        return replace(self, costs=costs, row_bytes=row, operations=pair, own_operations=own)

    @property
    def error(self) -> float:
        """Root mean square of the fit's relative error over the sizes that were measured, each with its median time."""
        times: dict[Work, list[float]] = {}
        for m in self.measured:
            times.setdefault(work(m.n1, m.n2, m.own, self.block), []).append(m.seconds)
        errors = [call_seconds(self.costs, w) / statistics.median(t) - 1 for w, t in times.items()]
        return math.sqrt(sum(e * e for e in errors) / max(1, len(errors)))

    def _overhead(self) -> float:
        if self.overhead is None:
            raise ValueError(
                "workers: the scheduler's overhead was not measured; call tt.scale.estimate with workers=2 or more, with "
                "client=, or with overhead= in seconds a task."
            )
        return self.overhead

    def _counts(self, n1: int | None, n2: int | None) -> tuple[int, ...]:
        if n1 is None and n2 is None:
            n1, n2 = self.n1, self.n2
        elif n1 is None:
            raise ValueError("n1: expected a number of inputs beside n2, got None.")
        for name, n in (("n1", n1), ("n2", n2)):
            if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
                raise ValueError(f"{name}: expected a positive number of inputs, got {n!r}.")
        if n2 is None and self.n2 is not None:
            raise ValueError("n2: the estimate is of x1 with x2; expected n2 beside n1, got None.")
        return (n1,) if n2 is None else (n1, n2)

    def _grid(self, n1: int | None, n2: int | None, tile: int | None) -> Grid:
        if tile is not None and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 1):
            raise ValueError(f"tile: expected a positive number of inputs, got {tile!r}.")
        counts = self._counts(n1, n2)
        return Grid((counts[0], counts[-1]), min(tile or self.tile, max(counts)), len(counts) == 1)

    def _work(self, n1: int | None, n2: int | None, tile: int | None) -> Work:
        totals = [0, 0, 0, 0]
        for count, a, b, own in _kinds_of_tiles(self._grid(n1, n2, tile)):
            totals = [t + count * w for t, w in zip(totals, work(a, b, own, self.block), strict=True)]
        return Work(*totals)

    @property
    def _dtype(self) -> Any:
        return torch.empty(0, dtype=getattr(torch, self.dtype), device="cpu").numpy().dtype

    def __repr__(self) -> str:
        return _table(self)


def work(n1: int, n2: int, own: bool, block: int) -> Work:
    """The calls that one tile is made of."""
    rows, columns = -(-n1 // block), -(-n2 // block)
    if not own:
        return Work(rows * columns, n1 * columns + n2 * rows, n1 * n2, 0)
    squares = (n1 // block) * block**2 + (n1 % block) ** 2
    return Work(rows * (rows + 1) // 2, n1 * rows, (n1 * n1 - squares) // 2, squares)


def call_seconds(c: Costs, w: Work) -> float:
    """Seconds of calls."""
    return c.call * w.calls + c.input * w.inputs + c.pair * w.pairs + c.own * w.own


def operations(net: torch.nn.Module, shape: Any) -> tuple[int, int]:
    """Arithmetic operations of one pair, and of one input's own pass."""
    found = trace(net, shape)
    needs = self_needs(found.program, None)
    own = sum(needs.grid(k).entries * step.cost() for k, step in enumerate(needs.steps1) if step in needs.planes)
    return found.cost, own


def _kinds_of_tiles(grid: Grid) -> Iterator[tuple[int, int, int, bool]]:
    """(how many, rows, columns, on the diagonal) of tiles of one size: whole ones, and those at edges."""
    t = grid.tile
    sides = [[(n // t, t), (1, n % t)] for n in grid.shape]
    if grid.symmetric:
        (full, _), (_, rest) = sides[0]
        yield full, t, t, True
        yield full * (full - 1) // 2, t, t, False
        if rest:
            yield 1, rest, rest, True
            yield full, t, rest, False
        return
    for many1, a in sides[0]:
        for many2, b in sides[1]:
            if a and b:
                yield many1 * many2, a, b, False


def _table(e: Estimate) -> str:
    c, grid = e.costs, e._grid(None, None, None)
    largest = max(e.measured, key=lambda m: m.n1 * m.n2)
    rows = [
        ("kernel", f"{' and '.join(e.kinds)}, {grid.shape[0]:,} x {grid.shape[1]:,} {e.dtype}{', symmetric' * grid.symmetric}"),
        ("tiles", f"{grid.count:,} of {grid.tile} x {grid.tile}, {lasting(e.tile_seconds())} each"),
        ("store", f"{sized(e.store_bytes())}, {lasting(e.write_seconds())} to write"),
        ("memory", f"{sized(e.memory_bytes())} a process, beside libraries and inputs"),
        ("time", f"{lasting(e.seconds(workers=1))} in one process of {e.threads} thread{'s' * (e.threads > 1)}"),
        (
            "costs",
            f"{lasting(c.call)} a call, {lasting(c.input)} an input, {lasting(c.pair)} a pair, {lasting(c.file)} a file, "
            f"{lasting(c.byte)} a byte",
        ),
        ("measured", f"{len(e.measured)} calls up to {largest.n1} x {largest.n2}, fitted within {e.error:.0%}"),
    ]
    if e.overhead is not None:
        rows.append(("scheduler", f"{lasting(e.overhead)} a task: busy at {e.workers_max:,.0f} workers"))
        for w in sorted({w for w in (*_SHOWN, e.workers) if w <= max(e.workers, 4 * e.workers_max)}):
            rows.append(
                (
                    f"{w:,} worker{'s' * (w > 1)}",
                    f"{lasting(e.seconds(workers=w))}, {e.efficiency(w):.0%} busy; best tile {e.best_tile(w)}",
                )
            )
    return "\n".join(f"{name:12}{text}" for name, text in rows)


def lasting(seconds: float) -> str:
    """A time in words, two digits or more.

    Example:
        >>> from torchtangents.scale.cost import lasting
        >>> [lasting(t) for t in (3.21e-8, 0.0042, 12.3, 600., 9000.)]
        ['32 ns', '4.2 ms', '12 s', '10 min', '2.5 h']
    """
    for limit, unit, name in ((1e-6, 1e-9, "ns"), (1e-3, 1e-6, "us"), (1, 1e-3, "ms"), (300, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            value = seconds / unit
            return f"{value:.1f} {name}" if value < 9.95 else f"{value:.0f} {name}"
    return f"{seconds / 3600:,.1f} h"
