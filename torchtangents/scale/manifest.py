"""What a store says of itself, kept among the attributes of its zarr group; and how it differs from what a caller asks for."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import native
from ..config import installed
from .chunks import replace_file
from .grid import Grid

FORMAT, KEY = 1, "torchtangents"


@dataclass(frozen=True)
class Manifest:
    """The kernel that a store holds: of which model, which inputs, in which tiles."""

    shape: tuple[int, int]
    tile: int
    symmetric: bool
    kinds: tuple[str, ...]
    dtype: str
    backend: str
    model: dict[str, Any]  # its fingerprint: a digest for each recorded step, or of the function
    x1: dict[str, Any]  # count, arguments (dtype and shape of one input), digest
    x2: dict[str, Any] | None
    versions: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def grid(self) -> Grid:
        """The tiles."""
        return Grid(self.shape, self.tile, self.symmetric)

    @property
    def numpy_dtype(self) -> np.dtype:
        """The dtype of the arrays."""
        return np.dtype(self.dtype)

    def write(self, root: Path, side: Path) -> None:
        """Replace the group's metadata."""
        group = {"attributes": {KEY: asdict(self)}, "zarr_format": 3, "node_type": "group"}
        replace_file(root / "zarr.json", [json.dumps(group, indent=1).encode()], side)

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """The manifest of a store.

        Raises:
            FileNotFoundError: there is nothing at `root`.
            ValueError: what is there is not a store of this format.
        """
        if not root.exists():
            raise FileNotFoundError(f"store: expected a stored kernel at {root}, found nothing; tt.scale.compute makes one.")
        try:
            found = json.loads((root / "zarr.json").read_bytes())["attributes"][KEY]
        except (OSError, KeyError, TypeError, ValueError):
            raise ValueError(
                f"store: expected a kernel stored by tt.scale.compute at {root}, found something else; choose another path."
            ) from None
        if found.get("format") != FORMAT:
            raise ValueError(
                f"store: expected format {FORMAT} at {root}, got {found.get('format')}; use the torchtangents that wrote it "
                f"({found.get('versions', {}).get('torchtangents', 'unknown')})."
            )
        return cls(**{**found, "shape": tuple(found["shape"]), "kinds": tuple(found["kinds"])})


def versions() -> dict[str, str]:
    """Of what decides the last digits of a kernel."""
    return {
        "torchtangents": installed("torchtangents", "source"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "instructions": next(iter(native.instructions()), "none"),
    }


def differences(stored: Manifest, asked: Manifest) -> list[str]:
    """Every difference between two kernels, in words; none where one continues the other."""
    found = []
    for name in ("kinds", "dtype", "tile", "backend"):
        was, now = getattr(stored, name), getattr(asked, name)
        if was != now:
            remedy = " (leave tile out to use that of the store)" if name == "tile" else ""
            found.append(f"{name}: stored {was}, asked for {now}{remedy}")
    if stored.symmetric != asked.symmetric:
        words = {True: "x1 with itself (x2=None)", False: "x1 with x2"}
        found.append(f"inputs: stored {words[stored.symmetric]}, asked for {words[asked.symmetric]}")
    if stored.x1["arguments"] == asked.x1["arguments"]:  # other inputs make other steps
        found += _model(stored.model, asked.model)
    for name in ("x1", "x2"):
        was, now = getattr(stored, name), getattr(asked, name)
        if was is not None and now is not None:
            found += _data(name, was, now)
    return found


def _model(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if was == {**now, "name": was["name"]}:  # another name of the same computation is the same kernel
        return []
    if was["type"] != now["type"] or was["type"] == "function":
        return [f"model: stored the {was['type']} {was['name']}, asked for the {now['type']} {now['name']}, which differs"]
    if len(was["steps"]) != len(now["steps"]):
        return [
            f"model: stored {was['name']} with {len(was['steps'])} recorded steps, asked for {now['name']} with "
            f"{len(now['steps'])}"
        ]
    (layer, step, _), at = next((b, k) for k, (a, b) in enumerate(zip(was["steps"], now["steps"], strict=True)) if a[2] != b[2])
    stored = was["steps"][at][1]
    same = "with other numbers" if stored == step else f"where {stored} is stored"
    return [f"model: layer {layer or 'input'} differs: {step} {same} (step {at + 1} of {len(was['steps'])})"]


def _data(name: str, was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if was["arguments"] != now["arguments"]:
        return [f"{name}: stored inputs {_described(was)}, asked for {_described(now)}"]
    if was["count"] != now["count"]:
        return [f"{name}: stored {was['count']:,} inputs, asked for {now['count']:,}"]
    return [] if was["digest"] == now["digest"] else [f"{name}: the numbers differ from those of the stored kernel (SHA-256)"]


def _described(data: dict[str, Any]) -> str:
    return ", ".join(f"{a['dtype']} {tuple(a['shape'])}" for a in data["arguments"])
