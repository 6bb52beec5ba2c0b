"""Checks on data: what is wrong, where, and what to do about it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def as_arguments(x: Any, name: str) -> tuple:
    """The arguments of forward: a tensor, or a tuple whose first tensor has the batch on axis 0."""
    args = tuple(x) if isinstance(x, (tuple, list)) else (x,)
    tensors = [a for a in args if isinstance(a, Tensor)]
    if not tensors:
        raise TypeError(f"expected {name} as a tensor (N, ..) or a tuple of forward's arguments, got {type(x).__name__}")
    for t in tensors:
        check_dense(t, name)
    first = tensors[0]
    whole = not first.is_floating_point() and not first.is_complex()  # tokens, or images that forward converts
    if first.ndim < 1 or (first.ndim == 1 and not whole):
        raise ValueError(
            f"expected {name} with the batch on axis 0 and features after it, got shape {tuple(first.shape)}; add an axis"
        )
    if not whole and first.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"expected {name} in float32 or float64, got {first.dtype}; half precision cannot hold a kernel, use {name}.float()"
        )
    return args


def check_dense(t: Tensor, name: str) -> None:
    """Refuse sparse and nested tensors."""
    if t.is_nested:
        raise TypeError(
            f"expected {name} as a dense tensor, got a nested one; pad it (torch.nested.to_padded_tensor) and give masks"
        )
    if t.layout != torch.strided:
        raise TypeError(f"expected {name} as a dense tensor, got {t.layout}; use {name}.to_dense()")


def check_finite(args: tuple, name: str) -> None:
    """Refuse NaN and infinity, with the index of the first, and what holds no numbers."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    for i, t in enumerate(tensors):
        if t.is_meta:
            raise ValueError(f"expected numbers in {name}, got a tensor on the meta device; only tt.trace takes shapes alone")
        if t.is_floating_point() and not _finite(t):
            at = tuple((~torch.isfinite(t)).nonzero()[0].tolist())
            where = name if len(tensors) == 1 else f"{name}[{i}]"
            raise ValueError(f"expected finite numbers in {where}, got {float(t[at])} at index {at}")


def check_pair(args1: tuple, args2: tuple) -> None:
    """Both sets of inputs must be of one kind."""
    if len(args1) != len(args2):
        raise ValueError(f"expected x1 and x2 with the same number of arguments, got {len(args1)} and {len(args2)}")
    for a, b in zip(args1, args2, strict=True):
        if not isinstance(a, Tensor) or not isinstance(b, Tensor):
            continue
        if a.dtype != b.dtype:
            raise TypeError(f"expected x1 and x2 of one dtype, got {a.dtype} and {b.dtype}; convert one of them")
        if a.device != b.device:
            raise ValueError(f"expected x1 and x2 on one device, got {a.device} and {b.device}; move one of them")
        if a.ndim != b.ndim:
            raise ValueError(f"expected x1 and x2 with the same number of axes, got shapes {tuple(a.shape)} and {tuple(b.shape)}")


def check_masks(
    masks: tuple[Tensor | None, Tensor | None], args1: tuple, args2: tuple | None
) -> tuple[Tensor | bool | None, Tensor | bool | None]:
    """Masks that fit the inputs; where one side has one, True (data everywhere) for the other."""
    if args2 is None and masks[1] is not None:
        raise ValueError("expected mask2=None with x2=None: both sets of inputs are x1, with mask1")
    for name, mask, args in (("mask1", masks[0], args1), ("mask2", masks[1], args2)):
        if mask is None:
            continue
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"expected {name} as a tensor of booleans, True where there are data, got {_kind(mask)}")
        count = next(len(a) for a in args or () if isinstance(a, Tensor))
        if mask.ndim < 2 or len(mask) != count:
            raise ValueError(f"expected {name} of shape (N, *positions) with N={count}, got {tuple(mask.shape)}")
    if all(m is None for m in masks):
        return None, None
    return True if masks[0] is None else masks[0], True if masks[1] is None else masks[1]


def _kind(value: Any) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def check_result(kernel: Tensor, dtype: torch.dtype) -> None:
    """A kernel that overflowed is an error, not a number."""
    if not _finite(kernel.detach()):
        at = tuple((~torch.isfinite(kernel.detach())).nonzero()[0].tolist())
        raise OverflowError(f"the kernel is not finite at {at} in {dtype}; use float64, scale the inputs, or a smaller w_std")


def _finite(t: Tensor) -> bool:
    """Whether all numbers are; a sum that is finite tells without a copy."""
    return bool(torch.isfinite(t.sum())) or bool(torch.isfinite(t).all())
