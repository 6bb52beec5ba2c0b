"""Models expanded around their parameters: linearised, or as a Taylor polynomial of any degree."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.utils import _pytree as pytree

from .empirical.functional import Parameters, Selection, call, probe, require_deterministic, require_float, trained


def linearize(model: nn.Module, *, parameters: Selection = None) -> TaylorExpansion:
    """The model, linear in its parameters: the first-order Taylor expansion around their present values.

    f_lin(x; p) = f(x; p_0) + J(x; p_0) (p - p_0).

    Args:
        model: any module, with any inputs, and a tensor, tuple or dict of tensors for an output. It is copied.
        parameters: which trainable parameters are variables: None for all of them, an iterable of names, or a predicate of
            name and value. The others keep their value.

    Returns:
        A module of the same inputs and outputs, as `taylor_expand` with degree 1.

    Raises:
        ValueError, TypeError: as `taylor_expand`.

    Lee et al. 2019 (arXiv 1902.06720).

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        >>> linear, x = tt.linearize(net), torch.randn(5, 3)
        >>> torch.equal(linear(x), net(x))
        True
        >>> optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
        >>> linear(x).square().mean().backward()
        >>> optimizer.step()
    """
    return taylor_expand(model, 1, parameters=parameters)


def taylor_expand(model: nn.Module, degree: int, *, parameters: Selection = None) -> TaylorExpansion:
    """The Taylor polynomial of a model in its parameters, around their present values.

    f_k(x; p) = sum_{j <= k} 1/j! d^j/dt^j f(x; p_0 + t (p - p_0)) at t = 0.

    Args:
        model: as in `linearize`.
        degree: k >= 0, the order of the polynomial; a forward costs about 2^k of the model's.
        parameters: as in `linearize`.

    Returns:
        A module of the same inputs and outputs. Its parameters start at p_0, have the model's names after "model.", and train
        with any optimizer; p_0 is kept in buffers. The copy inside stays in the mode (training or evaluation) in which the
        model was: `train()` does not reach it.

    Raises:
        ValueError: a negative degree, no trainable parameter, BatchNorm in training mode; at the first forward: random
            numbers (dropout in training mode), buffers or parameters that the forward changes.
        TypeError: outputs that are not real floating point numbers; a degree that is no integer.
        NotImplementedError: a function that torch cannot differentiate that often, or gets wrong (`empirical.derivatives`).

    Lee et al. 2019 (arXiv 1902.06720) for degree 1; Bai and Lee 2020 (arXiv 1910.01619) for higher ones.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 1))     # of degree 2 in its parameters
        >>> quadratic, x = tt.taylor_expand(net, 2), torch.randn(5, 3)
        >>> moved = {name: p + torch.randn_like(p) for name, p in net.state_dict().items()}
        >>> quadratic.model.load_state_dict(moved), net.load_state_dict(moved)
        (<All keys matched successfully>, <All keys matched successfully>)
        >>> torch.allclose(quadratic(x), net(x), atol=1e-5)
        True
    """
    if not isinstance(degree, int) or isinstance(degree, bool):
        raise TypeError(f"degree: expected an integer >= 0, got {degree!r}")
    if degree < 0:
        raise ValueError(f"degree: expected an integer >= 0, got {degree}")
    return TaylorExpansion(model, degree, parameters)


class TaylorExpansion(nn.Module):
    """What `linearize` and `taylor_expand` return: `forward` takes the model's inputs and gives outputs of its kind.

    Attributes:
        model: the copy that holds the trained parameters.
        origin: a module whose buffers are p_0, under the names of the parameters.
        degree: the order of the polynomial.

    Raises:
        ValueError, TypeError: as `taylor_expand`.

    Example:
        >>> import torch, torchtangents as tt
        >>> expansion = tt.linearize(torch.nn.Linear(2, 1))
        >>> list(expansion.state_dict())
        ['model.weight', 'model.bias', 'origin.weight', 'origin.bias']
    """

    def __init__(self, model: nn.Module, degree: int, parameters: Selection = None):
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        start = trained(model, parameters)
        require_deterministic(model)
        self.degree = degree
        self.model = copy.deepcopy(model)
        for name, p in self.model.named_parameters():
            p.requires_grad_(name in start)
            p.grad = None
        self.origin = nn.Module()
        for name, p in start.items():
            _keep(self.origin, name, p.clone())
        self.training = model.training
        self._probed = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The polynomial at the present parameters."""
        require_deterministic(self.model)
        if not self._probed:
            probe(self.model, args, kwargs)
            self._probed = True
        origin = dict(self.origin.named_buffers())
        state = dict(self.model.named_parameters())
        stray = next((k for k, p in state.items() if p.requires_grad and k not in origin), None)
        if stray is not None:
            raise ValueError(
                f"{stray}: expected a constant, as when the model was expanded, got a parameter that requires a gradient; "
                "unfreeze it in the model and expand that again"
            )
        step = {k: state[k] - p for k, p in origin.items()}
        inputs = pytree.tree_leaves((args, kwargs))
        order = self.degree + any(isinstance(t, Tensor) and t.requires_grad for t in inputs)
        fixed = dict(self.model.named_buffers()) | {k: p for k, p in state.items() if k not in origin}

        def network(parameters: Parameters) -> Any:
            outputs = call(self.model, {**fixed, **parameters}, args, kwargs, order)
            require_float(outputs, type(self.model).__name__)
            return outputs

        def along(t: Tensor) -> tuple[Any, ...]:
            return (network({k: p + t * step[k] for k, p in origin.items()}),)

        if self.degree == 0:
            return network(origin)
        if self.degree == 1:
            return pytree.tree_map(torch.add, *jvp(network, (origin,), (step,)))
        derivatives = along
        for _ in range(self.degree):
            derivatives = _one_more(derivatives)
        reference = next(iter(origin.values()))
        terms = derivatives(torch.zeros((), dtype=reference.dtype, device=reference.device))
        return pytree.tree_map(lambda *of: sum(d / math.factorial(j) for j, d in enumerate(of)), *terms)

    def train(self, mode: bool = True) -> TaylorExpansion:
        """Set this module's own mode; the model inside keeps that in which it was expanded."""
        self.training = mode
        return self

    def extra_repr(self) -> str:
        return f"degree={self.degree}"


def _one_more(derivatives: Any) -> Any:
    """From t -> (g, g', .., g^(j)) to t -> (g, g', .., g^(j + 1))."""

    def more(t: Tensor) -> tuple[Any, ...]:
        values, slopes = jvp(derivatives, (t,), (torch.ones_like(t),))[:2]
        return (values[0], *slopes)

    return more


def _keep(tree: nn.Module, name: str, value: Tensor) -> None:
    """Register a buffer under a dotted name."""
    *path, last = name.split(".")
    for part in path:
        if part not in tree._modules:
            tree.add_module(part, nn.Module())
        tree = getattr(tree, part)
    tree.register_buffer(last, value)
