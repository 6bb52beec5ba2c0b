"""Modules whose per-sample derivatives do not exist, refused by name before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

Parameters = Iterable[str] | Callable[[str, torch.nn.Parameter], bool] | None


def counted(model: torch.nn.Module, parameters: Parameters = None) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters that a kernel counts, each once.

    Args:
        model: the module.
        parameters: names, or a predicate on (name, parameter); None for all with `requires_grad`.

    Raises:
        TypeError: no module, or one with lazy parameters.
        ValueError: a name that does not exist or is frozen; nothing left.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}; wrap a function in a module")
    found = dict(model.named_parameters())
    for name, p in found.items():
        if isinstance(p, torch.nn.parameter.UninitializedParameter):
            raise TypeError(f"{name}: its size is not known yet; call the model once on a batch")
    trainable = {k: p for k, p in found.items() if p.requires_grad and p.is_floating_point()}
    if not trainable:
        raise ValueError(f"{type(model).__name__} has no trainable parameters, so no tangent kernel; set requires_grad_(True)")
    if parameters is None:
        return trainable
    if callable(parameters):
        chosen = {k: p for k, p in trainable.items() if parameters(k, p)}
    else:
        if isinstance(parameters, str):
            parameters = [parameters]
        aliases = {k: id(p) for k, p in model.named_parameters(remove_duplicate=False)}
        first = {id(p): k for k, p in found.items()}
        chosen = {}
        for name in parameters:
            if name not in aliases:
                raise ValueError(f"parameters: {name!r} is no parameter of {type(model).__name__}; see named_parameters()")
            own = first[aliases[name]]
            if own not in trainable:
                raise ValueError(f"parameters: {name!r} is frozen (requires_grad=False), so the kernel does not count it")
            chosen[own] = trainable[own]
    if not chosen:
        raise ValueError(f"parameters: none of the {len(trainable)} trainable parameters was chosen")
    return chosen


def check_modes(model: torch.nn.Module) -> None:
    """Refuse layers that mix samples or draw random numbers in their present mode."""
    for name, module in model.named_modules():
        where = f"{name or 'model'} ({type(module).__name__})"
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            remedy = "call model.eval()" if module.running_mean is not None else "give it running statistics"
            raise ValueError(f"{where}: uses statistics of the batch, so samples interact; {remedy}, or use GroupNorm")
        if isinstance(module, _InstanceNorm) and module.training and module.track_running_stats:
            raise ValueError(f"{where}: changes its running statistics in training mode; call model.eval()")
        if isinstance(module, (_DropoutNd, torch.nn.RReLU)) and module.training and getattr(module, "p", 1.0):
            raise ValueError(f"{where}: draws random numbers in training mode; call model.eval()")
        dropout = getattr(module, "dropout", 0.0)
        if isinstance(module, (torch.nn.MultiheadAttention, torch.nn.RNNBase)) and module.training and dropout:
            raise ValueError(f"{where}: drops at random in training mode (dropout={dropout}); call model.eval()")


def check_precision(device: torch.device) -> None:
    """Refuse autocast, which would round the products of a kernel beside those of its model."""
    if torch.is_autocast_enabled(device.type):
        rounded = torch.get_autocast_dtype(device.type)
        raise TypeError(
            f"expected a call outside of autocast, which would round the kernel's own products to {rounded}; "
            "convert the model and its inputs to have its forward rounded alone"
        )


def watched_forward(model: torch.nn.Module, call: Callable[[], Any], device: torch.device) -> Any:
    """Forward once; refuse it if it changes a buffer or draws random numbers, with the buffer put back."""
    before = {k: (b, b._version, b.detach().clone()) for k, b in model.named_buffers()}
    state = _random_state(device)
    out = call()
    after = dict(model.named_buffers())
    changed = [k for k, (b, version, _) in before.items() if after.get(k) is not b or b._version != version]
    if changed:
        with torch.no_grad():
            for k in changed:
                owner, _, leaf = k.rpartition(".")
                tensor, _, value = before[k]
                tensor.copy_(value)
                model.get_submodule(owner)._buffers[leaf] = tensor
        raise ValueError(
            f"forward changes the buffer {changed[0]!r}, so its derivative depends on the order of the calls; "
            "call model.eval(), or keep the state out of forward"
        )
    if any(not torch.equal(a, b) for a, b in zip(state, _random_state(device), strict=True)):
        raise ValueError(f"the forward of {type(model).__name__} draws random numbers; call model.eval(), or draw them outside")
    return out


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states
