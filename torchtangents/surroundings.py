"""What callers may have switched on around a call, and what of it the library leaves out: torch.compile, a default device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run by Python under torch.compile, whose graph breaks there; without one it is not even imported."""

    @wraps(function)
    def outer(*args: P.args, **kwargs: P.kwargs) -> R:
        run: Any = torch.compiler.disable(function) if torch.compiler.is_compiling() else function
        return run(*args, **kwargs)

    return outer


def on_host() -> AbstractContextManager:
    """Tensors made without a device go to the CPU, where kernels are planned, whatever `torch.set_default_device` says."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
