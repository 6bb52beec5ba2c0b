"""The interface of a method of classification, and the methods by name."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ..check import require_choice
from .task import Task

METHODS = ("regression", "cross_entropy", "dirichlet", "variational")


class Method(Protocol):
    """A method that has learned from a task; made by `learn(task, settings)`."""

    @classmethod
    def learn(cls, task: Task, settings: Any) -> Method:
        """Learn from `task`, with the parameters of a `Classifier`."""
        ...

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Of each class at test points (M, *input_shape): (M, C) in float64."""
        ...


def find(name: str) -> type[Method]:
    """The method of that name; what it needs is imported here."""
    require_choice("method", name, METHODS)
    if name == "regression":
        from .one_hot import OneHotRegression

        return OneHotRegression
    if name == "cross_entropy":
        from .cross_entropy import CrossEntropyFlow

        return CrossEntropyFlow
    if name == "dirichlet":
        from .dirichlet import Dirichlet

        return Dirichlet
    from .variational import Variational

    return Variational
