"""Models of plain torch.nn, as layers that carry a law: `from_torch`."""

from __future__ import annotations

import copy
import math
from typing import Any, NoReturn

import torch
from torch.nn import Module, Parameter

from . import nn
from .covariance.refusal import UnsupportedError
from .nn.law import Law, Scalar, plain
from .nn.layer import Layer

_WEIGHTED = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "Embedding")
_UNWEIGHTED = ("LayerNorm", "GroupNorm", "RMSNorm", "Dropout")  # the same class of ours takes the same attributes
_BATCH_NORM = torch.nn.modules.batchnorm._BatchNorm
_ATTENTION = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer, torch.nn.TransformerDecoderLayer)


def from_torch(
    model: Module, w_std: Scalar | None = None, b_std: Scalar | None = None, parameterization: str = "standard"
) -> Module:
    """A copy of a model of plain torch.nn layers whose layers carry a law, so that `tt.ntk` and `tt.nngp` take it.

    Every torch.nn.Linear, Conv1d, .. becomes the layer of the same name in torchtangents.nn. Its forward stays what it was:
    weights W and biases b are kept ("standard"), or stored as sqrt(fan_in) W / w_std and b / b_std ("ntk"). The kernels are
    those of the law N(0, w_std^2 / fan_in), N(0, b_std^2), not of the weights.

    Args:
        model: any module; it stays as it is. Layers of torchtangents.nn in it are kept.
        w_std: standard deviation of the weights, times sqrt(fan_in); None takes the variance of PyTorch's own
            initialisation, uniform within 1 / sqrt(fan_in): w_std = 1 / sqrt(3); of an Embedding 1.
        b_std: standard deviation of the biases; None the same of PyTorch's: 1 / sqrt(3 fan_in).
        parameterization: "standard" or "ntk".

    Returns:
        The copy; modules that were shared still are.

    Raises:
        UnsupportedError: a layer that no rule covers (groups, batch statistics, a subclass, hooks, a bare parameter), by its
            dotted name.
        ValueError: a bias that is not zero where "ntk" has b_std = 0.

    He, Zhang, Ren and Sun 2015 (arXiv 1502.01852) for the initialisation; Sohl-Dickstein et al. 2020 (arXiv 2001.07301).

    Example:
        >>> import torch, torchtangents as tt
        >>> plain = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        >>> net = tt.from_torch(plain)
        >>> torch.equal(net(torch.ones(2, 3)), plain(torch.ones(2, 3)))
        True
        >>> tt.nngp(net, torch.ones(1, 3))
        tensor([[0.0793]])
    """
    out = copy.deepcopy(model)
    rescaled: dict[int, tuple[float, Parameter]] = {}
    for name, module in out.named_modules():
        _convert(name or type(model).__name__, module, w_std, b_std, parameterization, rescaled)
    return out


def _convert(
    name: str,
    module: Module,
    w_std: Scalar | None,
    b_std: Scalar | None,
    parameterization: str,
    rescaled: dict[int, tuple[float, Parameter]],
) -> None:
    """Turn one module into ours, in place: sharing, attributes and state stay."""
    kind = type(module)
    if isinstance(module, Layer):
        return
    if torch.nn.utils.parametrize.is_parametrized(module):
        _refuse(name, module, "parametrizations change its weights; remove them with torch.nn.utils.parametrize first")
    known = next((k for k in (*_WEIGHTED, *_UNWEIGHTED) if isinstance(module, getattr(torch.nn, k))), None)
    if known is None:
        _check_other(name, module)
        return
    if isinstance(module, torch.nn.modules.lazy.LazyModuleMixin):
        _refuse(name, module, "it has no sizes yet; run the model on a batch first")
    if kind is not getattr(torch.nn, known) or "forward" in vars(module):
        _refuse(name, module, f"it changes torch.nn.{known}; write a tt.Layer with its own forward and propagate")
    if module._forward_hooks or module._forward_pre_hooks:
        _refuse(name, module, "hooks change what it computes; remove them first")
    if not hasattr(nn, known):
        _refuse(name, module, f"there is no rule for {known}")
    _check_options(name, module)
    module.__class__ = getattr(nn, known)  # ours is a subclass with the same attributes
    if known in _WEIGHTED:
        _give_law(name, module, w_std, b_std, parameterization, rescaled)


def _give_law(
    name: str,
    module: Any,
    w_std: Scalar | None,
    b_std: Scalar | None,
    parameterization: str,
    rescaled: dict[int, tuple[float, Parameter]],
) -> None:
    """The law of a layer's weights; under "ntk" the weights in units of it."""
    if isinstance(module, torch.nn.Embedding):  # drawn from N(0, 1), and no bias
        fan_in, weight, bias = 1, 1.0 if w_std is None else w_std, 0.0
    else:
        row = module.weight[0].numel()  # what torch.nn.init takes as fan_in, of transposed convolutions too
        fan_in = getattr(module, "fan_in", row)
        weight = math.sqrt(fan_in / (3 * max(row, 1))) if w_std is None else w_std
        bias = 1 / math.sqrt(3 * max(row, 1)) if b_std is None else b_std
    object.__setattr__(module, "law", Law(weight, bias, parameterization, name))
    if parameterization == "ntk":
        _rescale(name, module, "weight", math.sqrt(fan_in) / _divisor(name, "w_std", plain(weight)), rescaled)
        own = getattr(module, "bias", None)
        if own is not None and (plain(bias) or bool(own.any())):
            _rescale(name, module, "bias", 1 / _divisor(name, "b_std", plain(bias)), rescaled)


def _divisor(name: str, what: str, value: float) -> float:
    if value == 0:
        raise ValueError(f"{name}: expected {what} > 0 to store weights in units of it ('ntk'), or parameterization='standard'")
    return value


def _rescale(name: str, module: Module, key: str, factor: float, rescaled: dict[int, tuple[float, Parameter]]) -> None:
    """Store a parameter in other units; one that two modules share stays one."""
    old = getattr(module, key)
    if id(old) in rescaled:
        before, new = rescaled[id(old)]
        if before != factor:
            _refuse(name, module, f"it shares its {key} with a layer of another width; use parameterization='standard'")
    else:
        new = Parameter(old.detach() * factor, requires_grad=old.requires_grad)
        rescaled[id(old)] = factor, new
        rescaled[id(new)] = 1.0, new
    setattr(module, key, new)


def _check_options(name: str, module: Any) -> None:
    """Refuse options of a known layer that have no infinite-width rule."""
    groups = getattr(module, "groups", 1)
    if groups != 1:
        what = "depthwise" if groups == module.in_channels else f"groups={groups}"
        _refuse(name, module, f"a convolution with few channels a group ({what}) has no Gaussian limit; use groups=1")
    if isinstance(module, torch.nn.GroupNorm) and module.num_groups != 1:
        _refuse(name, module, f"{module.num_groups} groups hold few channels each; use GroupNorm(1, {module.num_channels})")


def _check_other(name: str, module: Module) -> None:
    """Refuse a module that holds weights or statistics which no law covers."""
    if isinstance(module, _BATCH_NORM):
        if module.training or module.running_mean is None:
            _refuse(name, module, "statistics of a batch have no rule; use LayerNorm or GroupNorm(1, C), or fold it in eval mode")
        if module.affine:
            _refuse(name, module, "its trained gain and bias have no rule; use affine=False, LayerNorm or GroupNorm(1, C)")
    elif isinstance(module, _ATTENTION):
        _refuse(name, module, "untied query and key weights with 1/sqrt(d) scores have no rule; use tt.nn.SelfAttention")
    elif isinstance(module, torch.nn.RNNBase):
        _refuse(name, module, "gates and recurrent weights of torch.nn have no rule; use tt.nn.RNN")
    else:
        own = [key for key, parameter in module._parameters.items() if parameter is not None]
        if own:
            _refuse(
                name,
                module,
                f"its parameter '{own[0]}' has no law at infinite width; use layers of torch.nn, a buffer, or "
                "tt.nn.PositionalEmbedding for embeddings of positions",
            )


def _refuse(name: str, module: Module, reason: str) -> NoReturn:
    raise UnsupportedError(f"{name} ({type(module).__name__}): {reason}")
