"""The hyperparameters of a network by name: one for each, or one for all layers that share it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..nn.hyperparameters import Hyperparameter, hyperparameters
from ..nn.law import Law, plain


@dataclass
class Learnable:
    """One number to learn, and the places in the network that it is for.

    Attributes:
        name: "w_std", "b_std", "rbf_gamma", ...; with one for each layer "w_std_0", "w_std_stem_conv", ...
        kind: the name without its layer.
        members: what it sets.
    """

    name: str
    kind: str
    members: list[Hyperparameter]

    @property
    def positive(self) -> bool:
        return self.members[0].positive

    @property
    def value(self) -> float:
        """The network's own."""
        return plain(self.members[0].value)


def learnables(net: torch.nn.Module, tied: bool) -> list[Learnable]:
    """Those of a network, in the order of its layers; a standard deviation of 0 stays off.

    Raises:
        ValueError: layers that are to share a number have different ones.
    """
    found: dict[str, Learnable] = {}
    for h in hyperparameters(net):
        if h.positive and plain(h.value) == 0:
            continue
        kind = _kind(net, h)
        name = kind if tied or not h.layer else f"{kind}_{h.layer.replace('.', '_')}"
        one = found.setdefault(name, Learnable(name, kind, []))
        if one.members and plain(h.value) != one.value:
            first = one.members[0].layer
            raise ValueError(
                f"{kind}: expected one value to share over the layers, got {one.value:g} at '{first}' and {plain(h.value):g} at "
                f"'{h.layer}'; set one value, or pass tied=False to learn one for each layer"
            )
        one.members.append(h)
    return list(found.values())


def _kind(net: torch.nn.Module, h: Hyperparameter) -> str:
    """Standard deviations by their name alone, parameters of functions with the name of the function."""
    if isinstance(h.places[0][0], Law):
        return h.name
    return f"{type(net.get_submodule(h.layer)).__name__.lower()}_{h.name}"
