"""How a rule refuses: an error that names the layer it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

locate: ContextVar[Callable[[], str]] = ContextVar("locate", default=lambda: "")


class UnsupportedError(NotImplementedError):
    """The infinite-width theory, or this version, has no rule for what was asked; the message names the layer.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(2, 8), torch.nn.Softmax(-1), tt.nn.Linear(8, 1))
        >>> try:
        ...     tt.ntk(net, torch.ones(1, 2))
        ... except tt.UnsupportedError as error:
        ...     print(str(error)[:11])
        1 (Softmax)
    """


def here() -> str:
    """The dotted name of the layer being recorded, '' outside a recording."""
    return locate.get()()


def placed(message: str) -> str:
    """The message behind the name of the layer being recorded."""
    name = here()
    return f"{name}: {message}" if name else message


@contextmanager
def located(layer: str) -> Iterator[None]:
    """While a step runs, errors name the layer that it came from."""
    token = locate.set(lambda: layer)
    try:
        yield
    finally:
        locate.reset(token)


def refuse(message: str) -> NoReturn:
    """Raise `UnsupportedError` with the layer's name."""
    raise UnsupportedError(placed(message))


class NotNative(Exception):
    """A step that a compiled backend does not compute; the message says which and why."""
