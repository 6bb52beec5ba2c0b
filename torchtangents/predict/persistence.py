"""Fitted predictors as flat dictionaries of tensors, which torch.save and safetensors both write."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from ..display import Shown

HEADER, VERSION = "torchtangents", 1


def pack(kind: str, options: dict[str, Any], tensors: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """Contiguous, detached copies of `tensors`, and `options` (numbers, words, None) as JSON in a tensor of bytes."""
    text = json.dumps({"class": kind, "version": VERSION, "options": options})
    state = {name: value.detach().clone().contiguous() for name, value in tensors.items() if value is not None}
    return {HEADER: torch.tensor(list(text.encode()), dtype=torch.uint8), **state}


def unpack(kind: str, state: object) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `pack` was given; refuses what it did not write for a `kind` of this version."""
    header = state.get(HEADER) if isinstance(state, dict) else None
    if not isinstance(header, Tensor):
        raise ValueError(f"state: expected the state_dict of a {kind}, got {type(state).__name__} without {HEADER!r} in it.")
    found = json.loads(bytes(header.tolist()).decode())
    if found["class"] != kind:
        raise ValueError(f"state: expected the state_dict of a {kind}, got one of a {found['class']}; use {found['class']}.")
    if found["version"] != VERSION:
        raise ValueError(f"state: expected version {VERSION}, got {found['version']}; save it again with this torchtangents.")
    return found["options"], {name: value for name, value in state.items() if name != HEADER}  # type: ignore[union-attr]


def moved(state: dict[str, Tensor], device: object, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """`state` on another device, and its data in another floating point type; factors stay in float64."""
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(f"dtype: expected a floating point type, got {dtype}.")
    out = {}
    for name, value in state.items():
        cast = dtype if value.is_floating_point() and not name.startswith("factor.") else None
        out[name] = value if name == HEADER else value.to(device=device, dtype=cast)  # type: ignore[call-overload]
    return out


def require_entry(state: dict[str, Tensor], name: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """The tensor `name` of a state, refused by name if it is missing or of another shape."""
    value = state.get(name)
    if value is None or (shape is not None and tuple(value.shape) != shape):
        got = "nothing" if value is None else str(tuple(value.shape))
        raise ValueError(f"state[{name!r}]: expected {'a tensor' if shape is None else f'shape {shape}'}, got {got}.")
    return value


class Persistent(Shown):
    """What can be saved, loaded and moved by its `state_dict`, and shown by its options and sizes."""

    gram: Any
    y_train: Tensor
    _shown: tuple[str, ...] = ()  # attributes that say what it is

    def _facts(self) -> dict[str, object]:
        n, *outputs = self.y_train.shape
        given = self.gram.options()
        facts = {name: getattr(self, name) for name in self._shown}
        facts |= {"diag_reg": given["diag_reg"], "points": n, "outputs": tuple(outputs), "dtype": self.gram.dtype}
        return facts | ({"jitter_added": given["jitter_added"]} if given["jitter"] else {})

    def state_dict(self) -> dict[str, Tensor]:
        """A flat dictionary of contiguous tensors, with the factors computed so far; torch.save and safetensors write it."""
        raise NotImplementedError

    def _needs(self) -> dict[str, Any]:
        """What `from_state_dict` takes beside the state."""
        return {}

    def to(self, device: object = None, dtype: torch.dtype | None = None) -> Any:
        """A copy, without gradients, on another device or with results in another dtype; costs no factorisation.

        What a state does not hold, a network or a callable loss, is the same object.
        """
        return type(self).from_state_dict(moved(self.state_dict(), device, dtype), **self._needs())  # type: ignore[attr-defined]
