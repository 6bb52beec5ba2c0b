"""The numbers of a network that are learned, each as one unconstrained number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ..nn.hyperparameters import Hyperparameter, hyperparameters
from ..nn.law import Law, plain

SPAN = math.log(1e3)  # a positive number moves by at most this factor


class Knob(NamedTuple):
    """One learned number u, 0 at the start, that moves one hyperparameter, or all of one name.

    Positive ones are start * e^u, others start + u; so tied ones keep their ratios (differences), and equal ones stay equal.
    """

    name: str
    places: tuple[Hyperparameter, ...]
    starts: tuple[float, ...]

    @property
    def positive(self) -> bool:
        """Whether u is a logarithm."""
        return self.places[0].positive

    def turn(self, u: Tensor) -> None:
        """Set the hyperparameters, differentiable in u."""
        for place, start in zip(self.places, self.starts, strict=True):
            place.assign(start * u.exp() if self.positive else start + u)


def random_ones(net: nn.Module) -> list[Hyperparameter]:
    """The standard deviations of weights and biases."""
    return [h for h in hyperparameters(net) if isinstance(h.places[0][0], Law)]


def dotted(h: Hyperparameter) -> str:
    """ "0.w_std": the layer and the argument."""
    return f"{h.layer}.{h.name}" if h.layer else h.name


def knobs(net: nn.Module, learn: Sequence[str] | None, tied: bool) -> list[Knob]:
    """The knobs of a network.

    Args:
        learn: names ("w_std", "a") or dotted names ("0.w_std"); None is every standard deviation.

    Raises:
        TypeError: a string instead of a list.
        ValueError: a name that the network does not have; a number to be learned that must be positive and is zero.
    """
    if isinstance(learn, str):
        raise TypeError(f"learn: expected a list of names, got {learn!r}; pass [{learn!r}].")
    known = hyperparameters(net)
    names = {h.name for h in known} | {dotted(h) for h in known}
    for name in learn or ():
        if name not in names:
            raise ValueError(f"learn: expected names among diag_reg, {', '.join(sorted(names))}, got {name!r}.")
    chosen = random_ones(net) if learn is None else [h for h in known if h.name in learn or dotted(h) in learn]
    groups: dict[str, list[Hyperparameter]] = {}
    for h in chosen:
        alone = not tied or (learn is not None and h.name not in learn)
        groups.setdefault(dotted(h) if alone else h.name, []).append(h)
        if h.positive and not plain(h.value) > 0:
            raise ValueError(f"{dotted(h)}: expected a start > 0 for what is learned, got {plain(h.value):g}.")
    return [Knob(name, tuple(found), tuple(plain(h.value) for h in found)) for name, found in groups.items()]


def outermost(net: nn.Module) -> list[Hyperparameter]:
    """The standard deviations of the layer that comes last in the network; they may carry the scale of its kernel."""
    found = random_ones(net)
    return [h for h in found if h.layer == found[-1].layer]
