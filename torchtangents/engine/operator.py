"""The compiled backend as one operator of torch: `torchtangents::pairs`, with a fake kernel and a backward pass.

Its arguments are the tensors of a recorded program (data, variances of weights, parameters of functions) and the number
of a `Task`, which holds the program. The backward pass runs the reference on one tile of pairs at a time, then on a few
inputs with themselves at a time, so that its memory does not grow with the number of inputs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..covariance.grid import Planes
from ..graph.leaves import leaves, rebound
from ..graph.program import Program
from .backward import gradients
from .cpu import Prepared
from .sides import self_pass
from .tiles import all_pairs

_numbers = itertools.count()
_tasks: WeakValueDictionary[int, Task] = WeakValueDictionary()


@dataclass
class Task:
    """What `torchtangents::pairs` computes: a pair of programs, and how."""

    first: Program
    second: Program
    wanted: Planes
    ntk: bool
    tile: int | None = None
    progress: bool | None = None
    number: int = field(default_factory=lambda: next(_numbers))

    def __post_init__(self) -> None:
        _tasks[self.number] = self
        self.prepared = Prepared(self.first, self.second, self.wanted, self.ntk)  # raises NotNative

    @cached_property
    def leaves(self) -> list[Tensor]:
        """The tensors of both programs."""
        return leaves(self.first, self.second)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return (self.first.batch, self.second.batch, *self.first.root.size, *self.second.root.size)

    def programs(self, given: list[Tensor]) -> tuple[Program, Program]:
        """Both programs on the given tensors."""
        new = {id(old): t for old, t in zip(self.leaves, given, strict=True)}
        first = rebound(self.first, new)
        return first, first if self.second is self.first else rebound(self.second, new)

    def run(self) -> tuple[Tensor, Tensor | None]:
        """(nngp, ntk) of every pair."""
        nngp, ntk = torch.ops.torchtangents.pairs(self.leaves, self.number)
        return nngp, ntk if self.ntk else None


@torch.library.custom_op("torchtangents::pairs", mutates_args=())
def pairs(given: list[Tensor], task: int) -> tuple[Tensor, Tensor]:
    """Both kernels of every pair (an empty tensor for the NTK where it is not asked for)."""
    work = _task(task)
    prepared = work.prepared
    if not all(map(_same, given, work.leaves)):
        prepared = Prepared(*work.programs(given), work.wanted, work.ntk)
    nngp, ntk = prepared.run(work.tile, work.progress)
    return nngp, nngp.new_empty(0) if ntk is None else ntk


@pairs.register_fake
def _fake(given: list[Tensor], task: int) -> tuple[Tensor, Tensor]:
    work = _task(task)
    like = given[0].new_empty(work.shape, dtype=work.first.width)
    return like, torch.empty_like(like) if work.ntk else like.new_empty(0)


def _save(ctx, inputs, output) -> None:
    given, number = inputs
    ctx.work = _task(number)
    ctx.save_for_backward(*given)


def _backward(ctx, nngp: Tensor | None, ntk: Tensor | None):
    work, given = ctx.work, list(ctx.saved_tensors)
    outer = (nngp, ntk if work.ntk else None)
    if not torch.is_grad_enabled():
        detached = [t.detach().requires_grad_(r) for t, r in zip(given, ctx.needs_input_grad[0], strict=True)]
        first, second = work.programs(detached)
        return gradients(first, second, work.wanted, work.ntk, detached, outer, work.tile), None
    first, second = work.programs(given)  # derivatives of derivatives: through the whole graph of the reference
    kept1, _ = self_pass(first)
    kept2 = kept1 if second is first else self_pass(second)[0]
    results = all_pairs(first, second, kept1, kept2, work.wanted, work.ntk, work.tile, False)
    chosen = [(r, g) for r, g in zip(results, outer, strict=True) if r is not None and g is not None and r.requires_grad]
    asked = [t for t in given if t.requires_grad]
    found = torch.autograd.grad([r for r, _ in chosen], asked, [g for _, g in chosen], create_graph=True, allow_unused=True)
    by_leaf = dict(zip(map(id, asked), found, strict=True))
    return [by_leaf.get(id(t)) for t in given], None


pairs.register_autograd(_backward, setup_context=_save)


def _task(number: int) -> Task:
    if number not in _tasks:
        raise RuntimeError(f"torchtangents::pairs: expected the number of a task that is still held, got {number}")
    return _tasks[number]


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype)
