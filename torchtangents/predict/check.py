"""Input checks of `predict`: each error says what was expected, what arrived and what to do."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor


def require_tensor(name: str, value: object, like_name: str = "", like: Tensor | None = None) -> Tensor:
    """`value` if it is a floating-point tensor without NaN or infinity, of the dtype and on the device of `like`."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}; convert it with torch.as_tensor.")
    if not value.is_floating_point():
        remedy = "convert labels with torch.nn.functional.one_hot(...) and numbers with .to(torch.get_default_dtype())"
        raise TypeError(f"{name}: expected floating point numbers, got {value.dtype}; {remedy}.")
    if like is not None:
        require_alike(name, value, like_name, like)
    finite = torch.isfinite(value.detach())
    if not bool(finite.all()):
        index = tuple((~finite).nonzero()[0].tolist())
        raise ValueError(f"{name}: expected finite numbers, got {value[index].item()} at index {index}; remove that entry.")
    return value


def require_alike(name: str, value: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse two tensors of different dtype or device."""
    if value.dtype != other.dtype:
        raise TypeError(
            f"{name} is {value.dtype} but {other_name} is {other.dtype}; expected one dtype: use {name}.to({other.dtype})."
        )
    if value.device != other.device:
        raise ValueError(
            f"{name} is on {value.device} but {other_name} on {other.device}; expected one device: "
            f"use {name}.to('{other.device}')."
        )


def require_shape(name: str, value: Tensor, *shapes: tuple[int, ...], remedy: str) -> None:
    """Refuse a shape that is none of `shapes`; -1 stands for any size."""
    for shape in shapes:
        if len(shape) == value.ndim and all(e in (-1, s) for e, s in zip(shape, value.shape, strict=True)):
            return
    wanted = " or ".join(str(shape).replace("-1", "any") for shape in shapes)
    raise ValueError(f"{name}: expected shape {wanted}, got {tuple(value.shape)}; {remedy}.")


def require_square(name: str, k: object) -> Tensor:
    """`k` if it is a symmetric (N, N) matrix with N >= 1."""
    k = require_tensor(name, k)
    shape = tuple(k.shape)
    if k.ndim > 2:
        raise ValueError(
            f"{name}: expected a square matrix (N, N), got {shape}: the network leaves positions at its output; "
            "end it with a global pool, or Flatten and a Linear."
        )
    if k.ndim != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"{name}: expected a square matrix (N, N), N >= 1, got {shape}; pass k(x_train, x_train).")
    with torch.no_grad():
        gap = (k - k.mT).abs().max().item()
        allowed = math.sqrt(torch.finfo(k.dtype).eps) * k.abs().max().item()
    if gap > allowed:
        raise ValueError(
            f"{name}: expected a symmetric matrix, got entries that differ by {gap:.3g} from their mirror image; "
            "pass k(x_train, x_train)."
        )
    return k


def require_targets(y: object, k: Tensor, name: str = "y_train", k_name: str = "k_train_train") -> Tensor:
    """`y` if it is (N, *O), of the kernel's dtype and device, for the kernel's N rows."""
    y = require_tensor(name, y, k_name, k)
    if y.ndim == 0 or len(y) != k.shape[0]:
        shape = f"({k.shape[0]},), ({k.shape[0]}, any) or with more output axes"
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(y.shape)}; one row for each input.")
    if y.numel() == 0:
        raise ValueError(f"{name}: expected at least one output, got shape {tuple(y.shape)}.")
    return y


def require_noise(noise: object, points: int, k: Tensor) -> Tensor:
    """`noise` if it is one variance >= 0 for each of N points, of the kernel's dtype and device."""
    noise = require_tensor("noise", noise, "the kernel", k)
    require_shape("noise", noise, (points,), remedy="one variance for each training point; diag_reg takes a common one")
    if bool((noise.detach() < 0).any()):
        index = int((noise.detach() < 0).nonzero()[0])
        raise ValueError(f"noise: expected variances >= 0, got {noise[index].item():g} at index {index}.")
    return noise


def require_number(name: str, value: object, *, positive: bool = False) -> float:
    """`value` as a finite float that is >= 0, or > 0 where `positive`."""
    bound = "> 0" if positive else ">= 0"
    given = value.detach() if isinstance(value, Tensor) else value
    number = float(given) if isinstance(given, Real) or (isinstance(given, Tensor) and given.ndim == 0) else math.nan  # type: ignore[arg-type]
    if not (math.isfinite(number) and (number > 0 if positive else number >= 0)):
        raise ValueError(f"{name}: expected a finite number {bound}, got {value!r}.")
    return number


def require_scalar(name: str, value: object) -> float | Tensor:
    """`value` as a finite float >= 0; a 0-dim tensor stays one, so that it can have a gradient."""
    number = require_number(name, value)
    return value if isinstance(value, Tensor) else number


def require_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse a value that is none of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}.")


def require_times(t: object, device: torch.device, *, steps: bool = False) -> Tensor | None:
    """Training times as a float64 tensor of any shape, finite and >= 0; None (infinity) stays None; whole if `steps`."""
    if t is None:
        return None
    times = torch.as_tensor(t, device=device)  # type: ignore[arg-type]
    if times.is_complex() or times.dtype == torch.bool:
        raise TypeError(f"t: expected real training times, got {times.dtype}.")
    if times.numel() == 0:
        raise ValueError(f"t: expected at least one training time, got shape {tuple(times.shape)}.")
    times = torch.as_tensor(t, dtype=torch.float64, device=device)  # type: ignore[arg-type]
    wrong = (~torch.isfinite(times.detach())) | (times.detach() < 0)
    if bool(wrong.any()):
        index = tuple(wrong.nonzero()[0].tolist())
        where = f" at index {index}" if index else ""
        raise ValueError(
            f"t: expected finite training times >= 0, got {times[index].item()}{where}; pass t=None for infinite time."
        )
    if steps and (times.requires_grad or bool((times != times.round()).any())):
        raise ValueError("t: gradient descent takes whole numbers of steps, without gradient; use method='flow' between them.")
    return times
