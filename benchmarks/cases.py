"""The cases: an architecture, the size of its inputs, and how many pairs each side computes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .architectures import FLATTEN, GAP, Net, cnn, fully_connected, myrtle, two_pools, wide_resnet

IMAGE = (3, 32, 32)
VECTOR = (784,)


@dataclass(frozen=True)
class Case:
    """One benchmark: NNGP and NTK of `net` in one pass, in float32.

    A side computes N1 x N2 entries: `ours`, and what `peers` says for each peer that takes part (a slow peer computes fewer;
    sides are compared by seconds an entry). With `same`, x2 is None, and sides may use the symmetry. `sweep` says where a case
    lies on which axis of the plot.
    """

    name: str
    net: Net
    shape: tuple[int, ...]
    ours: tuple[int, int]
    peers: dict[str, tuple[int, int]] = field(default_factory=dict)
    duplicates: float = 0.0
    same: bool = False
    sweep: tuple[str, int] | None = None

    def quick(self) -> Case:
        """The same case with few pairs, to try the harness."""
        most = 2 if len(self.shape) > 1 else 250
        ours, *theirs = ((min(n1, most), min(n2, most)) for n1, n2 in (self.ours, *self.peers.values()))
        return replace(self, ours=ours, peers=dict(zip(self.peers, theirs, strict=True)))


def square(n: int) -> tuple[int, int]:
    """As many inputs on either side."""
    return n, n


def _few(neural_tangents: int, **others: int) -> dict[str, tuple[int, int]]:
    sizes = {"neural-tangents": neural_tangents, "reference": 2, **others}
    return {name: square(n) for name, n in sizes.items()}


def _everyone(n: int) -> dict[str, tuple[int, int]]:
    return {name: square(n) for name in ("neural-tangents", "reference", "torch", "torch-compile", "botorch")}


ANALYTIC = (
    Case("cnn21-gap", cnn(21, GAP), IMAGE, square(64), _few(4, torch=2)),
    Case("cnn21-flatten", cnn(21, FLATTEN), IMAGE, square(512),
         {"neural-tangents": square(100), "reference": square(50), "torch": square(50), "torch-compile": square(50)}),
    Case("cnn-two-pools-flatten", two_pools(), IMAGE, square(192), _few(6, torch=4)),
    Case("myrtle5", myrtle(5), IMAGE, square(192), _few(6, torch=4)),
    Case("myrtle10", myrtle(10), IMAGE, square(128), _few(5, torch=4)),
    Case("wideresnet-n1", wide_resnet(1), IMAGE, square(128), _few(4)),
    Case("wideresnet-n4", wide_resnet(4), IMAGE, square(96), _few(4)),
    Case("fc3", fully_connected(3), VECTOR, square(2000), _everyone(2000)),
    Case("fc10", fully_connected(10), VECTOR, square(2000), _everyone(2000)),
    Case("fc10-duplicates", fully_connected(10), VECTOR, square(2000), _everyone(2000), duplicates=0.1),
    Case("fc3-gemm-alone", fully_connected(3), VECTOR, square(2000), {"gemm": square(2000)}),
    Case("cnn21-gap-64", cnn(21, GAP), (3, 64, 64), square(4)),
)  # fmt: skip

_RECIPES = ("torch-func", "torch-func-vp")


def _finite(name: str, kind: tuple, shape: tuple[int, ...], n: int, *peers: str, same: bool = False) -> Case:
    return Case(f"empirical-{name}", (("finite", *kind),), shape, square(n), dict.fromkeys(peers, square(n)), same=same)


EMPIRICAL = (
    _finite("fc1024", ("fc", 1024, 3, 10), VECTOR, 32, *_RECIPES, "neural-tangents-empirical"),
    _finite("cnn", ("cnn", 64, 4, 10), IMAGE, 8, *_RECIPES, "neural-tangents-empirical"),
    _finite("resnet18", ("resnet18", 10), IMAGE, 8, *_RECIPES),
    _finite("vit-tiny", ("vit", 10), IMAGE, 8, *_RECIPES),
    _finite("vit-tiny-same", ("vit", 10), IMAGE, 8, *_RECIPES, same=True),
    _finite("fc4096", ("fc", 4096, 3, 10), VECTOR, 64),
)

SWEEPS = {
    "inputs": tuple(
        Case(f"fc10-{n}", fully_connected(10), VECTOR, square(n), {"neural-tangents": square(n)}, sweep=("inputs", n))
        for n in (125, 250, 500, 1000, 2000, 4000)
    ),
    "side": tuple(
        Case(f"cnn5-gap-{side}", cnn(5, GAP), (3, side, side), square(16), {"neural-tangents": square(4)}, sweep=("side", side))
        for side in (8, 16, 24, 32)
    ),
}
SWEEP = tuple(case for cases in SWEEPS.values() for case in cases)
SUITES = {"analytic": ANALYTIC, "empirical": EMPIRICAL, "sweep": SWEEP}


def selected(suite: str, names: list[str] | None, sweep: bool, quick: bool) -> list[Case]:
    """The cases of a suite, or those of them that are named, then those of the sweep; few and small if quick.

    Raises:
        ValueError: a name that the suite does not have.
    """
    known = {case.name: case for case in SUITES[suite]}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"no case named {', '.join(unknown)} in the suite {suite!r}; there are {', '.join(known)}")
    cases = {name: known[name] for name in names or known} | ({case.name: case for case in SWEEP} if sweep else {})
    if not quick:
        return list(cases.values())
    small = {case.name for axis in SWEEPS.values() for case in axis[:2]}
    return [case.quick() for case in cases.values() if not case.sweep or case.name in small]
