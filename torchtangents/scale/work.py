"""The kernel of one tile: of a module in closed form, or of any function of two sets of inputs."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.trace import trace_of
from ..graph.program import Program, record
from ..inputs import as_arguments, check_result
from ..kernels import kernels, nngp
from .fingerprint import function_digest, program_digests
from .inputs import Data

KINDS = ("nngp", "ntk")
_OPERATIONS = 1.2e11  # a tile, about three seconds of one core
_SECONDS = 3.0
_LEAST, _MOST = 64, 2048  # inputs on a side: files of 16 KiB to 16 MiB in float32
_SAMPLE = 8
BLOCK = 1024  # the last bits of a matrix product depend on its size: larger tiles are made of blocks of this one

_ALONE = threading.Lock()  # workers of dask have threads, and a function may change its model while it runs, as tt.empirical does


class Analytic:
    """The kernels of a network of infinite width."""

    def __init__(self, model: torch.nn.Module, kinds: Sequence[str], backend: str):
        self.model, self.kinds, self.backend = model, tuple(kinds), backend

    def describe(self, data: Data, other: Data | None) -> tuple[np.dtype, dict[str, Any]]:
        """The dtype of the kernel, and what identifies the network; refuses what has no kernel."""
        if other is not None:
            self(data.rows(slice(0, 1)), other.rows(slice(0, 1)))  # inputs that do not fit together are found now
        program = self._recorded(data.rows(slice(0, 2)))
        if program.layout:
            raise ValueError(
                f"{type(self.model).__name__}: expected one number for each pair of inputs, but positions "
                f"{program.root.size} are left at the output; end the network with a global pool, or Flatten and a Linear layer."
            )
        steps = program_digests(self._plain(data) or program)
        dtype = torch.empty(0, dtype=program.dtype, device="cpu").numpy().dtype
        return dtype, {"type": "module", "name": type(self.model).__name__, "steps": steps}

    def side(self, data: Data) -> int:
        """Inputs on a side of a tile that takes some seconds, whatever machine runs it."""
        return _rounded(math.sqrt(_OPERATIONS / max(1, trace_of(self._recorded(data.rows(slice(0, 2)))).cost)))

    def to(self, device: Any) -> None:
        """Compute on a device."""
        self.model = copy.deepcopy(self.model).to(device)

    def __call__(self, x1: Any, x2: Any) -> dict[str, Tensor]:
        """The tile of each kind; x2=None for a tile on the diagonal."""
        n1, n2 = _count(x1), _count(x1 if x2 is None else x2)
        if n1 <= BLOCK and n2 <= BLOCK:
            return self._block(x1, x2)
        out: dict[str, Tensor] = {}
        for i in range(0, n1, BLOCK):
            for j in range(0 if x2 is not None else i, n2, BLOCK):
                rows, columns = slice(i, i + BLOCK), slice(j, j + BLOCK)
                own = x2 is None and i == j
                for kind, part in self._block(_cut(x1, rows), None if own else _cut(x1 if x2 is None else x2, columns)).items():
                    out.setdefault(kind, part.new_empty(n1, n2))[rows, columns] = part
                    if x2 is None and not own:
                        out[kind][columns, rows] = part.mT
        return out

    def _block(self, x1: Any, x2: Any) -> dict[str, Tensor]:
        with torch.no_grad():
            if "ntk" not in self.kinds:
                return {"nngp": nngp(self.model, x1, x2, progress=False, backend=self.backend)}
            both = kernels(self.model, x1, x2, progress=False, backend=self.backend)
        return {kind: getattr(both, kind) for kind in self.kinds}

    def _recorded(self, x: Any) -> Program:
        with torch.no_grad():
            return record(self.model, as_arguments(x, "x1"))

    def _plain(self, data: Data) -> Program | None:
        """The program on two inputs of ones, so that its tensors tell of the model and not of the data; None if it fails."""
        try:
            return self._recorded(_ones(data.rows(slice(0, 1))))
        except Exception:  # a forward that computes with its data may not like ones
            return None


class Function:
    """The kernels that a function f(x1, x2) returns, as a tensor, or with the names nngp and ntk in a named tuple or dict."""

    def __init__(self, function: Callable, kinds: Sequence[str]):
        self.function, self.kinds = function, tuple(kinds)
        self.alone = _optional_second(function)

    def describe(self, data: Data, other: Data | None) -> tuple[np.dtype, dict[str, Any]]:
        """The dtype of its kernels, and what identifies it."""
        found = self(data.rows(slice(0, 1)), (data if other is None else other).rows(slice(0, 2)))
        dtype = torch.empty(0, dtype=next(iter(found.values())).dtype, device="cpu").numpy().dtype
        return dtype, {"type": "function", "name": _name(self.function), "digest": function_digest(self.function)}

    def side(self, data: Data) -> int:
        """From the time of a small tile."""
        x = data.rows(slice(0, min(data.count, _SAMPLE)))
        start = time.perf_counter()
        self(x, x)
        pair = (time.perf_counter() - start) / min(data.count, _SAMPLE) ** 2
        return 1 << int(math.log2(_rounded(math.sqrt(_SECONDS / pair))))

    def to(self, device: Any) -> None:
        """Move the modules among the arguments that a functools.partial holds."""
        if isinstance(self.function, functools.partial):
            f = copy.deepcopy(self.function)
            moved = [v.to(device) if isinstance(v, torch.nn.Module) else v for v in (*f.args, *f.keywords.values())]
            positional, named = moved[: len(f.args)], dict(zip(f.keywords, moved[len(f.args) :], strict=True))
            self.function = functools.partial(f.func, *positional, **named)

    def __call__(self, x1: Any, x2: Any) -> dict[str, Tensor]:
        """The tile of each kind; x2=None for a tile on the diagonal: f(x1) where x2 is optional, f(x1, x1) otherwise."""
        with _ALONE, torch.no_grad():
            found = self.function(x1) if x2 is None and self.alone else self.function(x1, x1 if x2 is None else x2)
        n1, n2 = _count(x1), _count(x1 if x2 is None else x2)
        out = {}
        for kind in self.kinds:
            value = torch.as_tensor(self._named(found, kind)).detach()
            self._check(kind, value, (n1, n2))
            out[kind] = _symmetric(value, kind, _name(self.function)) if x2 is None else value
        return out

    def _named(self, found: Any, kind: str) -> Any:
        if isinstance(found, dict) and kind in found:
            return found[kind]
        if hasattr(found, kind):
            return getattr(found, kind)
        if isinstance(found, (Tensor, np.ndarray)) and len(self.kinds) == 1:
            return found
        what = f"an array, which has no names: pass kinds=('ntk',) or ('nngp',), whichever {_name(self.function)} computes"
        if not isinstance(found, (Tensor, np.ndarray)):
            what = f"{type(found).__name__} without it; return a named tuple or dict of nngp and ntk, or pass kinds"
        raise TypeError(f"{_name(self.function)}: expected {kind!r} in what it returns, got {what}.")

    def _check(self, kind: str, value: Tensor, shape: tuple[int, int]) -> None:
        if tuple(value.shape) != shape or value.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"{_name(self.function)}: expected {kind} as float32 or float64 {shape}, a number for each pair of inputs, got "
                f"{value.dtype} {tuple(value.shape)}; trace or average what is left of the outputs."
            )
        check_result(value, value.dtype)


def kernel_of(model: Any, kinds: Sequence[str], backend: str) -> Analytic | Function:
    """What computes the tiles."""
    if isinstance(model, torch.nn.Module):
        return Analytic(model, kinds, backend)
    if callable(model):
        if backend != "auto":
            raise ValueError(f"backend: expected 'auto' with a kernel function, which chooses by itself, got {backend!r}.")
        return Function(model, kinds)
    raise TypeError(
        "model_or_kernel_fn: expected a torch.nn.Module or a function f(x1, x2) of two sets of inputs, got "
        f"{type(model).__name__}."
    )


def _symmetric(value: Tensor, kind: str, name: str) -> Tensor:
    gap = float((value - value.mT).abs().max())
    if gap > math.sqrt(torch.finfo(value.dtype).eps) * float(value.abs().max()):
        raise ValueError(
            f"{name}: expected a symmetric {kind} of inputs with themselves, got entries {gap:.3g} apart from their mirror "
            "image; pass x2=x1 for a kernel that is not symmetric."
        )
    return value.triu() + value.triu(1).mT


def _optional_second(function: Callable) -> bool:
    """Whether f(x1) is a call that its author meant: its second argument has the default None."""
    try:
        places = [
            p for p in inspect.signature(function).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return False
    return len(places) > 1 and places[1].default is None


def _ones(x: Any) -> Any:
    return tuple(map(_ones, x)) if isinstance(x, tuple) else torch.ones_like(x).repeat(2, *[1] * (x.ndim - 1))


def _cut(x: Any, rows: slice) -> Any:
    return tuple(part[rows] for part in x) if isinstance(x, tuple) else x[rows]


def _count(x: Any) -> int:
    return len(x[0] if isinstance(x, tuple) else x)


def _name(function: Callable) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    return getattr(function, "__qualname__", type(function).__name__)


def _rounded(side: float) -> int:
    return int(min(_MOST, max(_LEAST, side // _LEAST * _LEAST)))
