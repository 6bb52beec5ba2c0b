"""Functions that `torch.compile` leaves as they are: a break in the graph of a compiled function that calls them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run by Python under torch.compile; without one, the compiler is not even imported (over a second)."""

    @wraps(function)
    def outer(*args: P.args, **kwargs: P.kwargs) -> R:
        run: Any = torch.compiler.disable(function) if torch.compiler.is_compiling() else function
        return run(*args, **kwargs)

    return outer
