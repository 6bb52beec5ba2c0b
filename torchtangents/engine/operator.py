"""The compiled backend as one operator of torch: `torchtangents::pairs`, with a fake kernel and a backward pass.

Its arguments are the tensors of a recorded program (data, variances of weights, parameters of functions) and the number
of a `Task`, which holds the program. The backward pass runs the reference on one tile of pairs at a time, then on a few
inputs with themselves at a time, so that its memory does not grow with the number of inputs.
"""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ..covariance.grid import Planes
from ..graph.leaves import leaves, rebound
from ..graph.program import Program
from .backward import gradients
from .sides import self_pass
from .tiles import all_pairs

_numbers = itertools.count()
_tasks: WeakValueDictionary[str, Task] = WeakValueDictionary()


@dataclass
class Task:
    """What `torchtangents::pairs` computes: a pair of programs, and how."""

    first: Program
    second: Program
    wanted: Planes
    ntk: bool
    tile: int | None = None
    progress: bool | None = None
    backend: str = "cpu"
    number: str = field(default_factory=lambda: str(next(_numbers)))

    def __post_init__(self) -> None:
        _tasks[self.number] = self
        self.dispatch = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
        self.prepared: Any = self.prepare(self.first, self.second)  # raises NotNative

    def prepare(self, first: Program, second: Program) -> Any:
        """The programs lowered for the backend."""
        module = importlib.import_module("..triton.execute" if self.backend == "triton" else ".cpu", __package__)
        return module.Prepared(first, second, self.wanted, self.ntk)

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
        """(nngp, ntk) of every pair; past the operator where no derivative is asked for, as its first call imports a compiler."""
        wanted = torch.is_grad_enabled() and any(t.requires_grad for t in self.leaves)
        if self.prepared is not None and not wanted and not torch.compiler.is_compiling():
            prepared, self.prepared = self.prepared, None
            return prepared.run(self.tile, self.progress)
        nngp, ntk = torch.ops.torchtangents.pairs(self.leaves, self.number)
        return nngp, ntk if self.ntk else None


@torch.library.custom_op("torchtangents::pairs", mutates_args=())
def pairs(given: list[Tensor], task: str) -> tuple[Tensor, Tensor]:
    """Both kernels of every pair (an empty tensor for the NTK where it is not asked for)."""
    work = _task(task)
    prepared, work.prepared = work.prepared, None  # for one use: the data may change in place after it
    if prepared is None or not all(map(_same, given, work.leaves)):
        prepared = work.prepare(*work.programs(given))
    nngp, ntk = prepared.run(work.tile, work.progress)
    return nngp, nngp.new_empty(0) if ntk is None else ntk


@pairs.register_fake
def _fake(given: list[Tensor], task: str) -> tuple[Tensor, Tensor]:
    work = _task(task)
    like = given[0].new_empty(work.shape, dtype=work.first.width)
    return like, torch.empty_like(like) if work.ntk else like.new_empty(0)


def _save(ctx, inputs, output) -> None:
    given, number = inputs
    ctx.work = _task(number)
    ctx.save_for_backward(*given)


def _backward(ctx, nngp: Tensor, ntk: Tensor):
    work, given = ctx.work, list(ctx.saved_tensors)
    asked = [i for i, needed in enumerate(ctx.needs_input_grad[0]) if needed]
    if torch.is_grad_enabled():
        found = _differentiable(work, given, asked, nngp, ntk)
    else:
        found = torch.ops.torchtangents.pairs_backward(given, nngp, ntk, asked, work.number)
    by_place = dict(zip(asked, found, strict=True))
    return [by_place.get(i) for i in range(len(given))], None


def _differentiable(work: Task, given: list[Tensor], asked: list[int], nngp: Tensor, ntk: Tensor) -> list[Tensor]:
    """Derivatives that have derivatives, through the whole graph of the reference."""
    first, second = work.programs(given)
    kept1, _ = self_pass(first)
    kept2 = kept1 if second is first else self_pass(second)[0]
    results = all_pairs(first, second, kept1, kept2, work.wanted, work.ntk, work.tile, False)
    chosen = [(r, g) for r, g in zip(results, (nngp, ntk), strict=True) if r is not None and r.requires_grad]
    kernels, outer = [r for r, _ in chosen], [g for _, g in chosen]
    return list(torch.autograd.grad(kernels, [given[i] for i in asked], outer, create_graph=True, materialize_grads=True))


pairs.register_autograd(_backward, setup_context=_save)


@torch.library.custom_op("torchtangents::pairs_backward", mutates_args=())
def pairs_backward(given: list[Tensor], nngp: Tensor, ntk: Tensor, asked: list[int], task: str) -> list[Tensor]:
    """The derivatives of sum(nngp * K + ntk * Theta) by the tensors that are asked for."""
    work = _task(task)
    with torch._C._ForceDispatchKeyGuard(*work.dispatch):  # inside of an operator autograd is off otherwise
        detached = [t.detach().requires_grad_(i in asked) for i, t in enumerate(given)]
        first, second = work.programs(detached)
        found = gradients(first, second, work.wanted, work.ntk, detached, (nngp, ntk if work.ntk else None), work.tile)
    return [torch.zeros_like(detached[i]) if found[i] is None else found[i] for i in asked]  # type: ignore[misc]


@pairs_backward.register_fake
def _fake_backward(given: list[Tensor], nngp: Tensor, ntk: Tensor, asked: list[int], task: str) -> list[Tensor]:
    return [torch.empty_like(given[i]) for i in asked]


def _task(number: str) -> Task:
    if number not in _tasks:
        raise RuntimeError(f"torchtangents::pairs: expected the number of a task that is still held, got {number!r}")
    return _tasks[number]


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype)
