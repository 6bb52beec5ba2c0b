"""Checks of what `compute` and `open` are given."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from ..engine.backend import NAMES
from .work import KINDS


def as_path(store: Any) -> Path:
    """The folder of a store."""
    if not isinstance(store, (str, os.PathLike)) or "://" in str(store):
        raise TypeError(f"store: expected the path of a folder that every process can see, got {store!r}.")
    return Path(store).absolute()


def as_kinds(kinds: Any) -> tuple[str, ...]:
    """Which kernels, in a fixed order."""
    found = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if not found or len(set(found)) != len(found) or not set(found) <= set(KINDS):
        raise ValueError(f"kinds: expected one or both of 'nngp' and 'ntk', got {kinds!r}.")
    return tuple(k for k in KINDS if k in found)


def check_where(client: Any, devices: Any, processes: Any) -> None:
    """Where tiles can be computed."""
    if client is not None and (not hasattr(client, "scheduler_info") or getattr(client, "asynchronous", False)):
        raise TypeError(f"client: expected a distributed.Client that is not asynchronous, got {type(client).__name__}.")
    if client is not None and (processes is not None or isinstance(devices, (list, tuple))):
        raise ValueError(
            "client: expected processes=None and one name in devices, such as 'cuda', with a client: its workers are the "
            "processes, and each computes on the device of that name."
        )
    if processes is not None and (isinstance(processes, bool) or not isinstance(processes, int) or processes < 1):
        raise ValueError(f"processes: expected a positive number of processes, got {processes!r}.")
    if isinstance(devices, (list, tuple)) and not devices:
        raise ValueError("devices: expected at least one device, got none.")
    if not isinstance(devices, (type(None), str, torch.device, list, tuple)):
        raise TypeError(f"devices: expected the name of a device or a list of such, got {type(devices).__name__}.")


def check_attributes(attributes: Any) -> None:
    """What JSON gives back as it was."""
    try:
        held = isinstance(attributes, dict) and json.loads(json.dumps(attributes)) == attributes
    except (TypeError, ValueError):
        held = False
    if attributes is not None and not held:
        raise TypeError(
            f"attributes: expected a dictionary of text, numbers, lists and dictionaries, as JSON has, got {attributes!r}."
        )


def as_backend(backend: Any) -> str:
    """A backend of `tt.ntk`."""
    if backend not in NAMES:
        raise ValueError(f"backend: expected one of {', '.join(map(repr, NAMES))}, got {backend!r}.")
    return backend
