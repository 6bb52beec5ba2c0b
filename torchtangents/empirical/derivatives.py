"""Functions of torch whose forward derivatives are wrong or missing: replaced by plain operations, or refused.

torch.func.jvp returns wrong numbers for some functions, without an error (pytorch issue 198017). The lists hold what that
issue and a comparison of the functions of torch 2.13 with finite differences found; names are those of functions and methods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

WRONG = {"cholesky_inverse", "cholesky_solve", "linear_cross_entropy"}
WRONG_TWICE = {  # right once, but not differentiated again
    "batch_norm", "cumprod", "det", "householder_product", "linalg_det", "linalg_householder_product", "linalg_slogdet",
    "linalg_solve", "linalg_solve_ex", "linalg_tensorsolve", "logdet", "native_batch_norm", "native_layer_norm", "orgqr",
    "slogdet",
}  # fmt: skip


def _layer_norm(x: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
                *_: Any, **__: Any) -> Tensor:  # fmt: skip
    axes = tuple(range(-len(shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    normal = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    return _affine(normal, weight, bias)


def _instance_norm(x: Tensor, mean: Tensor | None = None, variance: Tensor | None = None, weight: Tensor | None = None,
                   bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
                   *_: Any, **__: Any) -> Tensor:  # fmt: skip
    shape = (-1, *(1,) * (x.ndim - 2))
    weight, bias = (None if t is None else t.reshape(shape) for t in (weight, bias))
    if use_input_stats:
        return _affine(_layer_norm(x, x.shape[2:], eps=eps), weight, bias)
    assert mean is not None
    assert variance is not None
    return _affine((x - mean.reshape(shape)) * (variance.reshape(shape) + eps).rsqrt(), weight, bias)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _pointwise(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def replacement(x: Tensor, inplace: bool = False) -> Tensor:
        return x.copy_(function(x.clone())) if inplace else function(x)

    return replacement


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * torch.sigmoid(gate)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    axes = [a for a in range(v.ndim) if dim == -1 or a != dim % v.ndim]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt())


REPLACED: dict[str, Callable[..., Tensor]] = {
    "layer_norm": _layer_norm,
    "instance_norm": _instance_norm,
    "silu": _pointwise(lambda x: x * torch.sigmoid(x)),
    "mish": _pointwise(lambda x: x * torch.tanh(torch.nn.functional.softplus(x))),
    "glu": _glu,
    "_weight_norm": _weight_norm,
}


class ForwardDerivatives(TorchFunctionMode):
    """While it is active, what runs can be differentiated forward `order` times, or raises.

    Raises:
        NotImplementedError: a function whose derivative torch gets wrong.

    Example:
        >>> import torch
        >>> from torchtangents.empirical.derivatives import ForwardDerivatives
        >>> with ForwardDerivatives(2):
        ...     torch.nn.functional.silu(torch.zeros(1))
        tensor([0.])
    """

    def __init__(self, order: int):
        super().__init__()
        self.order = order

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in REPLACED:
            return REPLACED[name](*args, **kwargs)
        texts = {a for a in (*args, *kwargs.values()) if isinstance(a, str)}
        wrong = name in WRONG or (name in ("scatter_reduce", "scatter_reduce_") and "prod" in texts)
        if self.order > 1 and name in WRONG_TWICE:
            wrong = name != "batch_norm" or bool(kwargs.get("training", args[5] if len(args) > 5 else False))
        if wrong:
            often = ", more than once" if name in WRONG_TWICE else ""
            raise NotImplementedError(
                f"torch differentiates {name} wrongly in forward mode{often} (pytorch issue 198017), so there is no result to "
                "trust; write the model without it"
            )
        return func(*args, **kwargs)
