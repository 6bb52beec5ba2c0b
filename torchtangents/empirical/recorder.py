"""Meets every function that a forward calls, and puts a probe where a parameter enters.

A probe is a zero that is added: to the output of a function with a rule (the parameter itself then has no derivative), or to the
parameter where no rule applies. Cotangents of probes and the recorded features give every parameter's per-sample gradient,
summed over all of its uses: tied weights need nothing more.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from .rules import Rule
from .uses import Known, Spread, Use

_SCALES = {torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__}
_DIVISIONS = {torch.div, Tensor.div, Tensor.__truediv__}
_TRANSPOSES = {torch.t, Tensor.t, Tensor.T.__get__, Tensor.mT.__get__}  # type: ignore[attr-defined]
_SWAPS = {torch.transpose, Tensor.transpose, torch.swapaxes, Tensor.swapaxes}
_COPIES = {Tensor.to, Tensor.contiguous, Tensor.type_as, Tensor.float, Tensor.double, Tensor.clone, torch.clone}


CHECKPOINTED = (
    "activation checkpointing runs forward again where it cannot be recorded; switch it off in the model: tile= bounds the memory"
)


@dataclass(frozen=True)
class Site:
    """Where a probe stands: its shape in one sample, and each use with the place of its feature."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    uses: tuple[tuple[Use, int | None], ...]
    function: str


@dataclass(eq=False)
class Recorder(TorchFunctionMode):
    """A recording of one forward."""

    parameters: Mapping[str, Tensor]
    rules: Mapping[Callable, Rule]
    probes: list[Tensor] | None = None  # None makes them
    sites: list[Site] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    versions: list[tuple[int, str]] = field(default_factory=list)  # of features when recorded, and by which function

    def __post_init__(self) -> None:
        super().__init__()
        self._names = {id(p): Known(name, p) for name, p in self.parameters.items()}
        self._kept: list[Tensor] = []  # values whose id is in `_names`
        self._probed: dict[str, Tensor] = {}
        self._made: list[Tensor] = []

    def made(self) -> list[Tensor]:
        """The probes in use, in the order of the sites."""
        return self._made

    def changed(self) -> str | None:
        """A function whose input was changed in place afterwards."""
        found = (name for f, (version, name) in zip(self.features, self.versions, strict=True) if f._version != version)
        return next(found, None)

    def known(self, value: Any) -> Known | None:
        """The parameter that a value is."""
        return self._names.get(id(value)) if isinstance(value, Tensor) else None

    def fixed(self, value: Any) -> Any:
        """The value without a derivative where it is a parameter."""
        return value.detach() if self.known(value) else value

    def __torch_function__(self, func: Any, kinds: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if not self._touches(args) and not (kwargs and self._touches(tuple(kwargs.values()))):
            return func(*args, **kwargs)
        alias = self._alias(func, args, kwargs)
        if alias is not None:
            return alias
        rule = self.rules.get(func)
        capture = None if rule is None else rule(self, *args, **kwargs)
        if capture is not None and capture.uses:
            return self._captured(func, capture)
        if isinstance(func, types.FunctionType) and func.__module__ == F.__name__ and func in _COMPOSITE:
            with self:
                return _unchecked(func)(*args, **kwargs)
        return self._substituted(func, args, kwargs)

    def _touches(self, values: tuple | list) -> bool:
        names = self._names
        return any(id(v) in names or (isinstance(v, (tuple, list)) and self._touches(v)) for v in values)

    def _alias(self, func: Any, args: tuple, kwargs: dict) -> Tensor | None:
        """A multiple, the transpose or a copy of a parameter stays a parameter."""
        k = self.known(args[0]) if args else None
        if func in _SCALES and len(args) == 2 and not kwargs:
            k, other = (k, args[1]) if k else (self.known(args[1]), args[0])
            number = None if k is None or self.known(other) else _constant(other)
            if k is None or number is None:
                return None
            new = Known(k.name, k.parameter, k.factor * number, k.transposed)
        elif k is None or kwargs:
            return None
        elif func in _DIVISIONS and len(args) == 2 and not self.known(args[1]):
            number = _constant(args[1])
            if not number:
                return None
            new = Known(k.name, k.parameter, k.factor / number, k.transposed)
        elif k.parameter.ndim == 2 and (
            func in _TRANSPOSES or (func in _SWAPS and len(args) == 3 and {a % 2 for a in args[1:]} == {0, 1})
        ):
            new = Known(k.name, k.parameter, k.factor, not k.transposed)
        elif func in _COPIES:
            out = func(args[0].detach(), *args[1:])
            if out.dtype != args[0].dtype or out.device != args[0].device:
                return None
            return self._keep(out, k)
        else:
            return None
        return self._keep(func(*(self.fixed(a) for a in args)), new)

    def _keep(self, value: Tensor, known: Known) -> Tensor:
        self._names[id(value)] = known
        self._kept.append(value)
        return value

    def _captured(self, func: Any, capture: Any) -> Tensor:
        uses, places = [], {}
        for use, feature in capture.uses:
            if feature is not None and id(feature) not in places:
                places[id(feature)] = len(self.features)
                self.features.append(feature)
                self.versions.append((feature._version, getattr(func, "__name__", str(func))))
            uses.append((use, None if feature is None else places[id(feature)]))
        return capture.output + self._probe(capture.output, tuple(uses), func)

    def _probe(self, like: Tensor, uses: tuple, func: Any) -> Tensor:
        shape = tuple(like.shape)
        if self.probes is None:
            if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
                raise ValueError(CHECKPOINTED)
            probe = torch.zeros(shape, dtype=like.dtype, device=like.device, requires_grad=True)
        else:
            if len(self.sites) >= len(self.probes) or self.probes[len(self.sites)].shape != shape:
                raise RuntimeError("forward calls other functions for other samples")
            probe = self.probes[len(self.sites)]
        self.sites.append(Site(shape, like.dtype, uses, getattr(func, "__name__", str(func))))
        self._made.append(probe)
        return probe

    def _substituted(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """Call with probed parameters; where no tensor comes out (a size, a dtype) there was no use."""
        if getattr(func, "__name__", "") == "__get__" or func in _QUESTIONS:
            plain = func(*pytree.tree_map(self.fixed, args), **pytree.tree_map(self.fixed, kwargs))
            if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(plain)):
                return plain

        def replaced(value: Any) -> Any:
            k = self.known(value)
            if k is None:
                return value
            if k.name not in self._probed:
                p = k.parameter.detach()
                use = Spread(Known(k.name, k.parameter), tuple(p.shape))
                self._probed[k.name] = p + self._probe(p, ((use, None),), func)
            return k.value(self._probed[k.name])

        return func(*pytree.tree_map(replaced, args), **pytree.tree_map(replaced, kwargs))


def _constant(value: Any) -> float | None:
    """A number, or a 0-dim tensor without a derivative."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Tensor) and value.ndim == 0 and not value.requires_grad:
        return float(value)
    return None


_QUESTIONS = {
    Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_floating_point, Tensor.is_contiguous, Tensor.__len__,
    Tensor.data_ptr, Tensor.get_device, Tensor.element_size, Tensor.is_complex, Tensor.nelement, torch.is_floating_point,
    torch.numel, torch.is_complex, Tensor.__hash__,
}  # fmt: skip
_COMPOSITE = {F.multi_head_attention_forward}  # functions in Python that hand their parameters to others


@functools.cache
def _unchecked(func: types.FunctionType) -> Callable:
    """The function without its check for a recorder, so that its body runs and the calls inside are met."""

    def never(*_: Any) -> bool:
        return False

    names = {**func.__globals__, **dict.fromkeys([k for k in func.__globals__ if k.startswith("has_torch_function")], never)}
    copy = types.FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy
