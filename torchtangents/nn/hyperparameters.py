"""The hyperparameters of a network: standard deviations of weights and biases, parameters of activations."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from .law import Law, Scalar
from .scalars import Scalars

POSITIVE = ("gamma",)  # of the activations' parameters; standard deviations are positive too


@dataclass(frozen=True, eq=False)
class Hyperparameter:
    """One number of the law of a network.

    Attributes:
        layer: the dotted name of its layer, "" for the network itself.
        name: the argument of the layer: "w_std", "b_std", "hidden_std", "a", ...
        positive: whether it must be > 0.
    """

    layer: str
    name: str
    positive: bool
    places: tuple[tuple[Law | Scalars, str], ...]

    @property
    def value(self) -> Scalar:
        """The number now, or a 0-dim tensor."""
        holder, attribute = self.places[0]
        return getattr(holder, attribute)

    def assign(self, value: Scalar) -> None:
        """Set it, in the layer itself; a 0-dim tensor stays differentiable."""
        for holder, attribute in self.places:
            setattr(holder, attribute, value)


def hyperparameters(net: torch.nn.Module) -> list[Hyperparameter]:
    """Those that a network's kernel depends on, in the order of its layers.

    A standard deviation that is the number 0 means that there is no such term, and stays out, as that of a bias which the
    layer does not have.

    Args:
        net: a module made of `torchtangents.nn` layers.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.nn.hyperparameters import hyperparameters
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 8, bias=False), tt.nn.RBF(2.), tt.nn.Linear(8, 1))
        >>> [(h.layer, h.name, h.value) for h in hyperparameters(net)]
        [('0', 'w_std', 1.0), ('1', 'gamma', 2.0), ('2', 'w_std', 1.0), ('2', 'b_std', 0.1)]
    """
    return [h for name, layer in net.named_modules() for h in _of(name, layer)]


def skeleton(net: torch.nn.Module) -> torch.nn.Module:
    """A copy of a network without its weights (they are on the device "meta"): it records, and has the same kernel.

    Args:
        net: as in `hyperparameters`.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.nn.hyperparameters import skeleton
        >>> net = skeleton(tt.nn.Linear(3, 8, b_std=0.))
        >>> net.weight.device.type, tt.nngp(net, torch.ones(1, 3))
        ('meta', tensor([[1.]]))
    """
    net = getattr(net, "_orig_mod", net)
    held = [p for p in net.parameters() if not torch.nn.parameter.is_lazy(p)]
    twins: dict[int, object] = {id(p): torch.nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in held}
    return copy.deepcopy(net, twins)


def _of(layer: str, module: torch.nn.Module) -> list[Hyperparameter]:
    biased = any("bias" in name for name, _ in module.named_parameters(recurse=False))
    places: dict[str, list[tuple[Law | Scalars, str]]] = {}
    for holder in vars(module).values():
        if isinstance(holder, Scalars):
            for name in vars(holder):
                places.setdefault(name, []).append((holder, name))
        elif isinstance(holder, Law):
            for attribute in ("w_std", "b_std")[: 1 + biased]:
                value = getattr(holder, attribute)
                if isinstance(value, torch.Tensor) or value:
                    places.setdefault(holder.names[attribute], []).append((holder, attribute))
    return [
        Hyperparameter(layer, name, isinstance(found[0][0], Law) or name in POSITIVE, tuple(found))
        for name, found in places.items()
    ]
