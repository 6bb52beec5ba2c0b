"""What a kernel computes, as a digest that is the same in every process: of a recorded program, or of any function."""

from __future__ import annotations

import enum
import functools
import hashlib
import types
from typing import Any

import numpy as np
import torch

from ..covariance.node import Node
from ..graph.program import Program

_SKIPPED = {"inputs", "roots", "cache", "layer"}  # of a step: wiring is told apart, names and bookkeeping do not count
_KNOWN = ("torch", "torchtangents", "numpy", "builtins", "functools", "gpytorch", "linear_operator")


def program_digests(program: Program) -> list[list[str]]:
    """[layer, step, digest] of each step: its numbers, tensors and functions, and which steps it reads."""
    index = {step: i for i, step in enumerate(program.steps)}
    content = _Content(index)
    found = []
    for step in program.steps:
        state = {k: v for k, v in _state(step).items() if k not in _SKIPPED}
        whole = content.of([type(step).__qualname__, state, [index[i] for i in step.inputs]])
        found.append([str(step.layer), repr(step), whole[:16]])
    return found


def function_digest(function: Any) -> str:
    """Of a callable: its code, its bound arguments, and the state of the modules that it holds."""
    return _Content({}).of(function)


class _Content:
    """Digests of objects by what they hold; no address enters, nor what was computed from it before."""

    def __init__(self, steps: dict[Node, int]):
        self.steps = steps
        self.known: dict[int, tuple[Any, str]] = {}  # the objects too, so that no id is used twice
        self.inside: list[int] = []

    def of(self, value: Any) -> str:
        """SHA-256 of an object and all that it holds."""
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.device, np.dtype)):
            return _hashed(type(value).__name__, repr(value))
        if isinstance(value, enum.Enum):
            return _hashed("enum", value)
        if isinstance(value, Node) and value in self.steps:
            return _hashed("step", self.steps[value])
        if id(value) in self.inside:
            return _hashed("cycle", len(self.inside) - self.inside.index(id(value)))
        if id(value) not in self.known:
            self.inside.append(id(value))
            self.known[id(value)] = value, _hashed(*self._parts(value))
            self.inside.pop()
        return self.known[id(value)][1]

    def _parts(self, value: Any) -> list[Any]:
        """Words that tell an object from others."""
        of = self.of
        if isinstance(value, torch.Tensor):
            trained = isinstance(value, torch.nn.Parameter) and value.requires_grad
            data = value.detach().cpu().resolve_conj().contiguous().flatten().view(torch.uint8).numpy()
            return ["tensor", value.dtype, tuple(value.shape), trained, data]
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return ["array", value.dtype.str, value.shape, np.ascontiguousarray(value).reshape(-1).view(np.uint8)]
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *map(of, value)]
        if isinstance(value, (set, frozenset)):
            return ["set", *sorted(map(of, value))]
        if isinstance(value, dict):
            return ["dict", *(of(part) for item in value.items() for part in item)]
        if isinstance(value, functools.partial):
            return ["partial", of(value.func), of(value.args), of(value.keywords)]
        if isinstance(value, types.MethodType):
            return ["method", of(value.__self__), of(value.__func__)]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            return ["code", value.co_code, value.co_names, value.co_varnames, *map(of, value.co_consts)]
        if isinstance(value, type):
            members = [] if _known(value.__module__) else [*vars(value).values(), *value.__bases__]
            return ["class", _place(value), *(of(m) for m in members if isinstance(m, (types.FunctionType, type)))]
        if isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
            return ["builtin", getattr(value, "__module__", ""), value.__name__]
        if isinstance(value, torch.nn.Module):
            state = {k: v for k, v in _state(value).items() if not k.endswith("_hooks")}
            hooks = [list(v.values()) for k, v in vars(value).items() if k.endswith("_hooks") and v]
            return ["module", of(type(value)), of(state), of(hooks)]
        state = _state(value)
        described = repr(value)
        return ["object", of(type(value)), of(dict(sorted(state.items()))) if state or " at 0x" in described else described]

    def _function(self, value: types.FunctionType) -> list[Any]:
        if _known(value.__module__):
            return ["function", _place(value)]
        names = {n: value.__globals__[n] for n in value.__code__.co_names if n in value.__globals__}
        used = {n: v for n, v in names.items() if not isinstance(v, types.ModuleType)}
        cells = [c.cell_contents for c in value.__closure__ or () if _filled(c)]
        return ["function", _place(value), *map(self.of, (value.__code__, value.__defaults__, value.__kwdefaults__, cells, used))]


def _hashed(*words: Any) -> str:
    out = hashlib.sha256()
    for word in words:
        data = word.data if isinstance(word, np.ndarray) else word if isinstance(word, bytes) else str(word).encode()
        out.update(len(data).to_bytes(8, "little"))
        out.update(data)
    return out.hexdigest()


def _state(value: Any) -> dict[str, Any]:
    """The attributes of an object, without what `cached_property` has kept."""
    kind = type(value)
    slots = [s for c in kind.__mro__ for s in getattr(c, "__slots__", ()) if not s.startswith("__") and hasattr(value, s)]
    state = {**{s: getattr(value, s) for s in slots}, **getattr(value, "__dict__", {})}
    return {k: v for k, v in state.items() if not isinstance(getattr(kind, k, None), functools.cached_property)}


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _place(value: Any) -> str:
    """Where a class or function is defined; scripts and notebooks are one place."""
    return f"{'' if value.__module__ == '__main__' else value.__module__}.{value.__qualname__}"


def _known(module: str | None) -> bool:
    return (module or "").split(".")[0] in _KNOWN
