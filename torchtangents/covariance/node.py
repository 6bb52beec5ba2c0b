"""One step of a recorded program, and what it is given when it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .block import Block
from .grid import Grid, Planes, Size
from .refusal import here
from .roots import Part, Roots

Memory = dict[str, Tensor]


@dataclass
class Context:
    """The circumstances of one `run`: which planes are asked for, and what was kept of each side."""

    twin: Node  # the same step of the other input's program
    wanted: Planes
    own: bool  # a self block (N,): every input with itself; otherwise (N1, N2)
    distance: bool  # whether the squared distance is asked for
    ntk: bool
    memory1: Memory = field(default_factory=dict)
    memory2: Memory = field(default_factory=dict)
    batch1: slice = field(default_factory=lambda: slice(None))
    batch2: slice = field(default_factory=lambda: slice(None))
    shared: bool = False  # both inputs are one data set, so that row i and column i are the same sample

    def left(self, name: str, grid: Grid) -> Tensor:
        """What the first side kept, at the first position; broadcasts against values."""
        v = self.memory1[name]
        return grid.left(v if self.own else v.unsqueeze(1))

    def right(self, name: str, grid: Grid) -> Tensor:
        """What the second side kept, at the second position."""
        v = self.memory2[name]
        return grid.right(v if self.own else v.unsqueeze(0))

    def sides(self, name: str, grid: Grid) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.left(name, grid), self.right(name, grid)

    def same_sample(self, like: Tensor) -> Tensor:
        """1 where both samples are one and the same, shaped to broadcast against values."""
        if self.own:
            return like.new_ones(())
        rows = torch.arange(like.shape[0], device=like.device) + (self.batch1.start or 0)
        columns = torch.arange(like.shape[1], device=like.device) + (self.batch2.start or 0)
        same = (rows[:, None] == columns[None]) if self.shared else torch.zeros(like.shape[:2], device=like.device)
        return same.to(like).reshape(*like.shape[:2], *(1,) * (like.ndim - 2))


class Node:
    """A step of a program: `reads` says which planes it needs, `run` computes, `remember` keeps per-input numbers.

    Subclasses set `local` to False where an output plane reads several input planes.
    """

    local = True
    wide = False  # whether its sums cancel, so that a program with it runs in float64

    def __init__(
        self,
        inputs: tuple[Node, ...],
        size: Size,
        *,
        gaussian: bool,
        centred: bool,
        roots: frozenset[Node | Part | str] | None = None,
    ):
        self.inputs, self.size, self.gaussian, self.centred = inputs, size, gaussian, centred
        self.roots = Roots().union(*(i.roots for i in inputs)) if roots is None else Roots(roots)
        self.pending = any(i.pending for i in inputs)  # a trained gain that no random layer or function followed
        self.alike = bool(inputs) and all(i.alike for i in inputs)  # whether all channels have one law
        self.layer = here()
        self.cache: dict[object, Node] = {}  # steps already recorded from this one

    def widen(self) -> None:
        """Hold what enters the program here in float64."""

    def reads(self, twin: Node, wanted: Planes) -> Planes:
        """The planes of every input that the planes `wanted` of the output need."""
        return wanted

    def uses_distance(self, asked: bool) -> bool:
        """Whether the inputs' squared distances are needed, given whether the output's is."""
        return asked

    def uses_mean(self, asked: bool) -> bool:
        """Whether the inputs' means are needed, given whether the output's is."""
        return asked

    def remembers(self, distance: bool) -> bool:
        """Whether pairs need per-input numbers of this step."""
        return False

    def remember(self, context: Context, blocks: tuple[Block, ...], means: tuple[Tensor | None, ...]) -> Memory:
        """Per-input numbers that pairs will need, (N, *S) each, from the self blocks of the inputs."""
        return {}

    def mean(self, memory: Memory, means: tuple[Tensor | None, ...]) -> Tensor | None:
        """The mean over channels (N, *size); None where it vanishes."""
        return means[0]

    def run(self, context: Context, *blocks: Block) -> Block:
        """The output's block on `context.wanted`."""
        raise NotImplementedError

    def agrees(self, twin: Node) -> bool:
        """Whether the same step of the other input's program has the same numbers."""
        return True

    def cost(self) -> int:
        """Arithmetic instructions an output entry, roughly; for `print(trace)`."""
        return 4

    def __repr__(self) -> str:
        return type(self).__name__
