"""Named functions by quadrature, made once so that equal functions of one value are recognised as equal."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor

from .quadrature import Quadrature


@functools.lru_cache(maxsize=256)
def by_quadrature(
    function: Callable[..., Tensor], breakpoints: tuple[float, ...], name: str, kinked: bool | None = None, **options: object
) -> Quadrature:
    """The dual of function(x, **options); its slope jumps at the breakpoints unless `kinked` says otherwise."""
    fixed = functools.partial(function, **options) if options else function
    return Quadrature(fixed, breakpoints, name, kinked=bool(breakpoints) if kinked is None else kinked)
