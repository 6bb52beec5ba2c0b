"""What an algorithm costs, counted from one recorded sample; tiles that fit in memory; and the choice in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..engine.memory import budget
from .contract import Rows
from .outputs import Axes
from .passes import Network
from .terms import places_of, sizes, term

_MOST = 1 << 31  # bytes of a tile, however much memory is free


@dataclass(frozen=True)
class Tiles:
    """Samples on the long and short side of a tile, outputs of a chunk, and the bytes."""

    panel: int
    column: int
    outputs: int  # diagonal and traced ones at a time
    bytes: int  # of one tile
    whole: int  # of the whole Jacobian

    @staticmethod
    def of(network: Network, axes: Axes, n1: int, n2: int | None, tile: int | None) -> Tiles:
        """Outputs are cut first, because each is a problem of its own; then samples."""
        diagonal, traced, free = axes.counts
        several = max(1, diagonal * traced)
        one, each = _bytes(network)
        samples = n1 + (n2 or 0)
        item = network.dtype.itemsize
        whole = samples * several * free * item * sum(p.numel() for p in network.parameters.values())
        allowed = budget(network.trial.device, _MOST)
        panel, column = (min(tile, n1), min(tile, n2 or n1)) if tile else (n1, n2 or n1)
        held = panel + (column if n2 is not None or panel < n1 else 0)
        outputs = int((allowed / held - one) // max(1, each * free))
        outputs = max(1, min(several, outputs))
        if tile is None and held * (one + each * free) > allowed:
            fit = int(allowed // (one + each * free))
            panel = max(1, min(n1, fit * 3 // 4))
            column = max(1, min(n2 or n1, fit - panel))
            held = panel + column
        return Tiles(panel, column, outputs, held * (one + each * free * outputs), whole)

    def cut(self, axes: Axes) -> bool:
        """Whether not all outputs are computed at once."""
        return self.outputs < axes.counts[0] * axes.counts[1]

    def chunks(self, axes: Axes) -> list[tuple[slice, slice]]:
        """Diagonal and traced outputs of each chunk."""
        diagonal, traced, _ = axes.counts
        if self.outputs >= traced:
            step = max(1, self.outputs // max(1, traced))
            return [(slice(i, min(diagonal, i + step)), slice(0, traced)) for i in range(0, diagonal, step)]
        cuts = [slice(j, min(traced, j + self.outputs)) for j in range(0, traced, self.outputs)]
        return [(slice(i, i + 1), c) for i in range(diagonal) for c in cuts]


def _bytes(network: Network) -> tuple[int, int]:
    """Of one sample: what does not depend on the outputs, and what each output adds (half again in flight)."""
    block = network.trial
    features = sum(f[0].numel() * f.element_size() for f in block.features)
    cotangents = sum(g[0, 0].numel() * g.element_size() for g in block.cotangents)
    return 3 * features, 3 * cotangents // 2


def forward_products(network: Network) -> int:
    """Multiplications of one sample's forward, in the layers that were recognised."""
    places = places_of(network.sites)
    total = 0
    for name, p in network.parameters.items():
        found = sizes(term(name, places, network.trial, p), p) if name in places else None
        if found is not None:
            total += found.groups * found.positions * max(1, found.inside) * found.outside
        else:
            total += p.numel()
    return total


def costs(network: Network, axes: Axes, n1: int, n2: int | None) -> dict[str, int]:
    """Multiplications of the three algorithms."""
    diagonal, traced, free = axes.counts
    rows, same = Rows(diagonal, traced, free), n2 is None
    m = n1 if n2 is None else n2
    forward = forward_products(network)
    back = (n1 + (n2 or 0)) * rows.count * forward
    places = places_of(network.sites)
    structured, dense = back, 2 * back
    for name, p in network.parameters.items():
        if name not in places:
            continue
        found = sizes(term(name, places, network.trial, p), p)
        every = n1 * m * rows.count * free * p.numel()
        dense += every
        structured += every if found is None else min(found.products(n1, m, rows), found.gradients(n1, m, rows, same))
    pairs = n1 * (n1 + 1) // 2 if same else n1 * m
    return {
        "structured": structured,
        "jacobian": dense,
        "vector_products": m * rows.count * 2 * forward + pairs * rows.count * 3 * forward,
    }


def described(network: Network, axes: Axes, n1: int, n2: int | None, tiles: Tiles, chosen: str, counts: Mapping[str, int]) -> str:
    """The choice as a table."""
    rows, same = Rows(*axes.counts), n2 is None
    m = n1 if n2 is None else n2
    way = "a loop over samples (no batching rule)" if network.looped else "batched passes"
    lines = [
        f"empirical ntk: {chosen}, {way}; {rows.count} outputs, {n1} x {m} samples",
        "multiplications: " + ", ".join(f"{k} {v:.2e}" for k, v in counts.items()),
        f"the Jacobian would take {size(tiles.whole)}; a tile of {tiles.panel} x {tiles.column} samples, "
        f"{tiles.outputs} of {math.prod(axes.counts[:2])} outputs at a time, takes {size(tiles.bytes)}",
    ]
    if chosen != "structured":
        return "\n".join(lines)
    places = places_of(network.sites)
    width = max(map(len, network.parameters))
    lines.append(f"{'parameter':{width}}  {'numbers':>10}  uses  {'multiplications':>15}  by")
    for name, p in network.parameters.items():
        if name not in places:
            lines.append(f"{name:{width}}  {p.numel():10}  {0:4}  {0:15.2e}  not used")
            continue
        found = sizes(term(name, places, network.trial, p), p)
        if found is None:
            count, how = n1 * m * rows.count * rows.free * p.numel(), "its gradients (Jacobian contraction)"
        elif found.by_products(n1, m, rows, same):
            count, how = found.products(n1, m, rows), "products of positions, inputs x cotangents"
        else:
            count, how = found.gradients(n1, m, rows, same), "gradients, some channels at a time"
        lines.append(f"{name:{width}}  {p.numel():10}  {len(places[name]):4}  {count:15.2e}  {how}")
    return "\n".join(lines)


def size(count: int) -> str:
    """Bytes in words."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"
