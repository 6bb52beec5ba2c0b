"""A run of instructions on packed planes, with its code on the device, as launches of `resident.run`."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from ..cuda import interpreted
from . import resident
from .launch import FUSED
from .packing import Packed
from .schedule import Run, Schedule
from .segment import Tile
from .spread import Lines, Spread
from .tuning import CHOICES, tuner

_BLOCK = 1 << 12 if interpreted() else 512
_WARPS = 4
_PROGRAMS = 1 << 11  # of a launch, at least, before a warp takes several planes, which find tables in the first cache
_REGISTERS = (128, 168)  # of two or three fields of 32 positions: 16 or 12 warps on a multiprocessor


class Launch:
    """A run of instructions, with its code on the device; `halved`: the step whose value it stores for pools of two."""

    def __init__(
        self, run: Run, schedule: Schedule, packed: Packed, slots: list[int], wide: int, halved: int | None, device: torch.device
    ):  # fmt: skip
        self.packed, self.slots, self.wide = packed, slots, wide
        self.source = run.source.source if run.source else None
        self.channels = self.source.values.shape[1] if self.source else 0
        whole, real, relus = [], [], 0
        for number, i in enumerate(run.instructions):
            first = number == 0 and run.source is not None  # data have no tangent
            linear = 0 if i.affine is None else 1 + i.window + (i.window and first)
            keep = None if i.keep == halved else i.keep
            whole.append([schedule.place(i.add), linear, relus if i.relu else -1, schedule.place(keep)])
            real.append([i.w, i.v, *(i.affine or (1.0, 0.0, 0.0, 0.0)), i.relu[2] if i.relu else 0.0, 0.0])
            relus += bool(i.relu)
        alike = [i for r in schedule.launches if isinstance(r, Run) and r.level == run.level for i in r.instructions]
        affine = [i.affine for i in alike if i.affine]
        self.halved = schedule.place(halved) if halved is not None and run is schedule.launches[-1] else -1
        self.options = {  # of all runs of a level, which share one compiled kernel
            "ADDS": any(i.add is not None for i in alike),
            "KEEPS": any(i.keep not in (None, halved) for i in alike),
            "SAME": all(scale == grow and b2 == shift for scale, b2, grow, shift in affine),
            **packed.layout.options,
            "LW": packed.layout.width,
            "V": packed.layout.vector,
            "P": (_BLOCK if interpreted() else 32 * _WARPS) // packed.layout.width,
            "HALVED": self.halved >= 0,
            "WIDE": wide,
        }
        self.count, self.instructions = len(whole), tuple(map(tuple, whole))
        self.code = torch.tensor(whole, dtype=torch.int32, device=device)
        self.coefficients = torch.tensor(real, dtype=torch.float64 if wide else torch.float32, device=device)

    @property
    def numbers(self) -> int:
        """Values of a table."""
        return self.channels + len(self.slots)

    def __call__(
        self, memory: Tensor, one: Tensor, two: Tensor, tile: Tile, ntk: bool, exact: bool, out: Tensor | None = None,
        spread: Spread | None = None, lines: Lines = Lines(0, 0, 0, 0, False), fresh: bool = False,
    ) -> None:  # fmt: skip
        """All packed planes of the tile, or the lines of one launch; out: sums of planes, or what is spread."""
        options = {**self.options, "SPREAD": spread is not None, "ODD": lines.odd, "FRESH": fresh, "NTK": ntk, "EXACT": exact}
        options |= {"SUMS": out is not None and spread is None, "num_warps": _WARPS, **FUSED}
        if not self.wide and not self.options["ADDS"] and not interpreted():
            options["maxnreg"] = _REGISTERS[exact]

        def launch(units: int, groups: int, programs: int, plane: Tensor, pooled: int = 0, weight: float = 1.0) -> None:
            resident.run[(programs,)](
                memory, memory if out is None else out, one, two, plane, self.code, self.coefficients, units, self.packed.count,
                tile.columns, memory.stride(0), self.numbers, self.count, self.channels, groups, self.halved, lines.count,
                lines.evens, pooled, weight, **options,
            )  # fmt: skip

        program = self.options["P"]
        if spread:
            units, plane = tile.pairs * lines.count, spread.table[lines.begin :]
            launch(units, lines.planes, -(-units // program), plane, spread.target.count, spread.weight)
            return
        units = tile.pairs * self.packed.count
        most = max(1, units // (program * _PROGRAMS))
        tuned = most >= max(CHOICES) and memory.is_cuda
        with (
            tuner((self.instructions, *options.items())).choice(units) if tuned else nullcontext(min(CHOICES[0], most)) as groups
        ):
            launch(units, groups, -(-units // (program * groups)), self.packed.plane)
