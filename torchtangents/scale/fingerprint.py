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
    found = []
    for step in program.steps:
        state = {k: v for k, v in vars(step).items() if k not in _SKIPPED}
        walk = _Walk(index)
        walk.add([type(step).__qualname__, state, [index[i] for i in step.inputs]])
        found.append([str(step.layer), repr(step), walk.digest()[:16]])
    return found


def function_digest(function: Any) -> str:
    """Of a callable: its code, its bound arguments, and the state of the modules that it holds."""
    walk = _Walk({})
    walk.add(function)
    return walk.digest()


class _Walk:
    """Feeds an object to a hash by its content; an address never enters."""

    def __init__(self, steps: dict[Node, int]):
        self.steps, self.hash = steps, hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.held: list[Any] = []  # so that no id is used twice

    def digest(self) -> str:
        return self.hash.hexdigest()

    def _word(self, *words: object) -> None:
        for word in words:
            text = str(word).encode()
            self.hash.update(len(text).to_bytes(8, "little") + text)

    def add(self, value: Any) -> None:
        """One object and all that it holds."""
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes, torch.dtype, torch.device, np.dtype)):
            self._word(type(value).__name__, repr(value))
        elif isinstance(value, enum.Enum):
            self._word("enum", value)
        elif isinstance(value, Node) and value in self.steps:
            self._word("step", self.steps[value])
        elif id(value) in self.seen:
            self._word("again", self.seen[id(value)])
        else:
            self.seen[id(value)] = len(self.seen)
            self.held.append(value)
            self._compound(value)

    def _compound(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self._array(value.detach().cpu().resolve_conj().contiguous())
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self._array(value)
        elif isinstance(value, (list, tuple)):
            self._word(type(value).__name__, len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, (set, frozenset)):
            self._word("set", *sorted(_alone(item, self.steps) for item in value))
        elif isinstance(value, dict):
            self._word("dict", len(value))
            for key, item in value.items():
                self.add(key)
                self.add(item)
        elif isinstance(value, functools.partial):
            self._word("partial")
            self.add([value.func, value.args, value.keywords])
        elif isinstance(value, types.MethodType):
            self._word("method", value.__func__.__qualname__)
            self.add(value.__self__)
            self.add(value.__func__)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
            self._word("builtin", getattr(value, "__module__", ""), value.__name__)
        elif isinstance(value, torch.nn.Module):
            self._word("module", value.training)
            self.add(type(value))
            self.add({k: v for k, v in vars(value).items() if not k.endswith("_hooks") and k != "training"})
            self.add([h for k, v in vars(value).items() if k.endswith("_hooks") and v for h in dict(v).values()])
        else:
            self._word("object")
            self.add(type(value))
            self._object(value)

    def _array(self, value: Any) -> None:
        self._word("array", str(value.dtype).removeprefix("torch."), tuple(value.shape))
        if isinstance(value, torch.Tensor):
            value = value.flatten().view(torch.uint8).numpy()
        self.hash.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)

    def _function(self, value: types.FunctionType) -> None:
        self._word("function", value.__module__ if value.__module__ != "__main__" else "", value.__qualname__)
        if _known(value.__module__):
            return
        self.add(value.__code__)
        self.add([value.__defaults__, value.__kwdefaults__])
        self.add([_cell(c) for c in value.__closure__ or ()])
        named = {n: value.__globals__[n] for n in value.__code__.co_names if n in value.__globals__}
        self.add({n: v for n, v in named.items() if not isinstance(v, types.ModuleType)})

    def _code(self, code: types.CodeType) -> None:
        self._word("code", code.co_name, code.co_code.hex(), code.co_names, code.co_varnames)
        self.add(list(code.co_consts))

    def _class(self, value: type) -> None:
        self._word("class", value.__module__ if value.__module__ != "__main__" else "", value.__qualname__)
        if not _known(value.__module__):
            self.add([v for v in vars(value).values() if isinstance(v, types.FunctionType)])
            self.add(list(value.__bases__))

    def _object(self, value: Any) -> None:
        slots = [s for c in type(value).__mro__ for s in getattr(c, "__slots__", ()) if hasattr(value, s)]
        state = {**{s: getattr(value, s) for s in slots if not s.startswith("__")}, **getattr(value, "__dict__", {})}
        if state:
            self.add(dict(sorted(state.items())))
        elif " at 0x" not in repr(value):
            self._word(repr(value))


def _alone(value: Any, steps: dict[Node, int]) -> str:
    walk = _Walk(steps)
    walk.add(value)
    return walk.digest()


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _known(module: str | None) -> bool:
    return (module or "").split(".")[0] in _KNOWN
