"""The table of supported layers, derived from the layers: `python -m torchtangents.support docs/support.md`.

Options come from signatures, sources from docstrings; the rest is found by recording one instance of each layer.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from . import nn
from .covariance.grid import Planes, union
from .covariance.laws import Affine, Input
from .covariance.layout import CHANNEL
from .covariance.node import Node
from .covariance.pointwise import Pointwise
from .covariance.quadrature import Quadrature
from .covariance.refusal import NotNative
from .covariance.state import State
from .engine.interpolation import BLANK
from .engine.lowering import Lowering
from .engine.needs import output_planes, pair_needs
from .engine.numbers import kept_names
from .engine.operations import has_closed_form
from .graph.program import Program, ordered, record

_SIZE, _CHANNELS = 4, 4
_ARGUMENTS: dict[str, Any] = {  # of one instance, by the name of the parameter
    **dict.fromkeys(
        ("in_features", "out_features", "in_channels", "out_channels", "num_channels", "normalized_shape"), _CHANNELS
    ),
    **dict.fromkeys(("embed_dim", "d_model", "num_embeddings", "embedding_dim", "hidden_size"), _CHANNELS),
    **dict.fromkeys(("kernel_size", "output_size", "scale_factor", "degree", "n", "num_heads", "nhead"), 2),
    **dict.fromkeys(("padding", "num_groups"), 1),
    **{
        "shape": (_SIZE, _CHANNELS),
        "std": 1.0,
        "batch_first": True,
        "fn": torch.tanh,
        "a": 0.5,
        "b": 1.0,
        "coefficients": (1.0, 0.5, 0.2),
        "input_size": _SIZE,
    },
}
_HIDDEN = {"self", "args", "kwargs", "device", "dtype", "min_value", "max_value"}
_NO_FIT = (TypeError, ValueError, NotImplementedError, RuntimeError, AssertionError, AttributeError, IndexError)
_LEAD = """# Supported layers

Written by `python -m torchtangents.support docs/support.md` from `torchtangents.nn`; a test compares.

- **Rule**: a closed form, or quadrature to 1e-8.
- **Masks**: whether it takes inputs of different lengths (`mask1=`, `mask2=`).
- **Planes read**: which displacements of its input one displacement of its output needs: *one*, *several*, or *all*
  (see [Planes](architecture.md#planes)).
- **Backends**: all run on *reference*; *cpu* is the compiled code, *cpu (table)* interpolates where there are many pairs.
"""


def table() -> str:
    """The whole page."""
    rows = ["| layer | options | rule | masks | planes read | backends | source |", "|---|---|---|---|---|---|---|"]
    for name in sorted(nn.__all__, key=str.lower):
        layer = getattr(nn, name)
        rows.append("| " + " | ".join((f"`{name}`", _options(layer), *_found(layer), _source(layer))) + " |")
    return _LEAD + "\n" + "\n".join(rows) + "\n"


def _parameters(layer: type) -> dict[str, inspect.Parameter]:
    """The parameters of the constructor, of the first class that names any."""
    for base in layer.__mro__:
        if "__init__" in vars(base):
            found = {k: p for k, p in inspect.signature(base.__init__).parameters.items() if k not in _HIDDEN}
            if found or base.__module__.startswith("torch."):
                return found
    return {}


def _options(layer: type) -> str:
    return ", ".join(_parameters(layer)) or "–"


def _source(layer: type) -> str:
    """The citation in the docstring, a line of its own."""
    found = re.search(r"^ *([A-Z][^\n]*?\b(?:19|20)\d\d \([^\n]*\)[^\n]*)\.$", layer.__doc__ or "", re.M)
    return found[1] if found else "–"


def _instance(layer: type) -> Any:
    asked = {k: p for k, p in _parameters(layer).items() if p.default is p.empty or k in ("fn", "batch_first")}
    return layer(**{k: _ARGUMENTS.get(k) for k in asked}).train()


def _found(layer: type) -> tuple[str, str, str, str]:
    """Rule, masks, planes and backends of one instance; a dash where it does not stand on its own."""
    for before, after in (*_propagated(layer), *_recorded(layer)):
        known = set(ordered(before))
        duals = [s.dual for s in ordered(after.node()) if s not in known and isinstance(s, Pointwise)]
        rule = "quadrature" if any(isinstance(d, Quadrature) for d in duals) else "closed form"
        masks = next(iter((*_propagated(layer, True), *_recorded(layer, True))), None)
        return rule, "no" if masks is None else "yes", _planes(before, after.node()), _backends(after)
    return "–", "–", "–", "–"


def _propagated(layer: type, masked: bool = False) -> Iterator[tuple[Node, State]]:
    """One instance on values of 2, 1, 3 and no axes of positions, with channels first or last."""
    for axes in (2, 1, 3) if masked else (2, 1, 3, 0):
        values = Input(torch.zeros(1, _CHANNELS, *(_SIZE,) * axes))
        mask = torch.ones(1, *values.size, dtype=torch.bool) if masked else None
        first = replace(State.of(values, _CHANNELS).affine(1.0, 0.1, 1.0, 0.1, _CHANNELS), mask=mask)
        last = first.permute([*range(1, axes + 1), 0])
        for value in (first, last):
            with contextlib.suppress(*_NO_FIT):
                after = _instance(layer).propagate(value)
                if isinstance(after, State):
                    yield value.node(), after


class _Alone(torch.nn.Module):
    """A layer that needs a recording: behind a Linear, or on tokens; its first output."""

    def __init__(self, layer: torch.nn.Module):
        super().__init__()
        self.start, self.layer = nn.Linear(_CHANNELS, _CHANNELS), layer

    def forward(self, x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        out = self.layer(self.start(x) if x.is_floating_point() else x, *more)
        return out[0] if isinstance(out, tuple) else out


def _recorded(layer: type, masked: bool = False) -> Iterator[tuple[Node, State]]:
    """One instance in a network on a sequence, a sequence with a graph, and tokens."""
    x, graph, tokens = torch.zeros(1, _SIZE, _CHANNELS), torch.eye(_SIZE)[None], torch.zeros(1, _SIZE, dtype=torch.long)
    for arguments in ((x,), (x, graph), (tokens,)):
        with contextlib.suppress(*_NO_FIT):
            mask = torch.ones(1, _SIZE, dtype=torch.bool) if masked else None
            program = record(_Alone(_instance(layer)), arguments, mask)
            yield next((s for s in program.steps if isinstance(s, Affine)), program.steps[0]), program.output


def _planes(source: Node, root: Node) -> str:
    asked: dict[Node, Planes | None] = {root: tuple((min(1, size - 1),) for size in root.size)}
    for step in reversed(ordered(root)):
        for i in step.inputs if asked.get(step) is not None else ():
            asked[i] = union(asked.get(i), step.reads(step, asked[step]))  # type: ignore[arg-type]
    counts = [len(p) / (2 * s - 1) if len(p) > 1 else 0 for p, s in zip(asked[source] or (), source.size, strict=True)]
    return "all" if any(c == 1 for c in counts) else "several" if any(counts) else "one"


def _backends(value: State) -> str:
    """Whether the compiled code takes a network with this layer inside."""
    for group in value.layout:
        while len(group) > 1 and CHANNEL in group:
            value = value.trace(next(t for t in group if t != CHANNEL))
            group = next(g for g in value.layout if CHANNEL in g)
    value = value.affine(1.0, 0.1, 1.0, 0.1, _CHANNELS)
    while value.size:
        value = value.total(0)
    program = Program(value, 1, torch.float32, torch.device("cpu"))
    needs = pair_needs(program, program, output_planes(program, program))
    functions = [s for s in needs.planes if isinstance(s, Pointwise) and not has_closed_form(s.dual)]
    try:
        Lowering(needs, False, {s: kept_names(needs, s) for s in needs.planes}, interpolants=dict.fromkeys(functions, BLANK))
    except NotNative:
        return "reference"
    if any(set(s.dual.breakpoints) - {0.0} or not s.dual.tabulates for s in functions):  # type: ignore[union-attr]
        return "reference"
    return "reference, cpu (table)" if functions else "reference, cpu"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/support.md").write_text(table(), encoding="utf-8")
