"""The compiled operations of csrc/, each with the torch code that serves where there was no compiler."""

from __future__ import annotations

import importlib

import torch
from torch import Tensor
from torch.autograd import forward_ad

_CHUNK = 1 << 22  # values gathered at a time by the torch code

try:
    _native = importlib.import_module("torchtangents._native")
    _missing = ""
except ModuleNotFoundError:
    _native = None
    _missing = "not built: no C++ compiler at install time, or run from the source tree"
except ImportError as error:
    _native = None
    _missing = f"built, but does not load: {error}"


def available() -> bool:
    """Whether the compiled extension was built and is in use.

    Example:
        >>> from torchtangents import native
        >>> native.available() in (True, False)
        True
    """
    return _native is not None


def why_not() -> str:
    """Why the compiled extension is not in use; empty if it is.

    Example:
        >>> from torchtangents import native
        >>> native.available() == (native.why_not() == "")
        True
    """
    return "" if available() else _missing


def instructions() -> list[str]:
    """The instruction sets that the extension has code for and this processor runs, best first; empty without it.

    Example:
        >>> from torchtangents import native
        >>> bool(native.instructions()) == native.available()
        True
    """
    return list(_native.instructions()) if _native is not None else []


def squared_differences(x1: Tensor, x2: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Squared distances of chosen rows, accumulated in double precision.

    out[k] = sum_c (x1[i[k], c] - x2[j[k], c])^2

    Compiled on the CPU where no derivative is asked for; otherwise torch code, differentiable in x1 and x2.

    Args:
        x1: (N1, C), float32 or float64.
        x2: (N2, C), of the same dtype, on the same device.
        i, j: (K,) int64, rows of x1 and of x2, none negative.

    Returns:
        (K,), of the dtype of x1.

    Raises:
        TypeError: x1 and x2 are not both float32 or both float64, or i and j not int64.
        ValueError: x1 and x2 differ in channels or device, or i and j in length.
        IndexError: a row that x1 or x2 does not have.

    Example:
        >>> import torch
        >>> from torchtangents.native import squared_differences
        >>> squared_differences(torch.eye(2), torch.eye(2), torch.tensor([0, 0]), torch.tensor([0, 1]))
        tensor([0., 2.])
    """
    _check(x1, x2, i, j)
    if _native is not None and _plain(x1) and _plain(x2):
        rows1, rows2, left, right = (t.detach().contiguous() for t in (x1, x2, i, j))
        out = torch.empty(len(i), dtype=x1.dtype)
        _native.squared_differences(rows1, rows2, left, right, out, torch.get_num_threads())
        return out
    step = max(1, _CHUNK // max(1, x1.shape[1]))
    pairs = zip(i.split(step), j.split(step), strict=True)
    parts = [(x1[a].double() - x2[b].double()).square().sum(-1) for a, b in pairs]
    return torch.cat(parts).to(x1.dtype)


def angles(q: Tensor, distance: Tensor, v1: Tensor, v2: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """(theta, m sin(theta), m (sin(theta) - theta cos(theta))) of pairs of Gaussians, without derivatives; None without csrc.

    m is sqrt(v1 v2); all shapes broadcast to that of q.

    Example:
        >>> import torch
        >>> from torchtangents import native
        >>> one = torch.ones(2)
        >>> found = native.angles(torch.tensor([1., -1.]), torch.tensor([0., 4.]), one, one)
        >>> found is None or found[0].tolist() == [0., 3.1415927410125732]
        True
    """
    if _native is None or not _plain(q.detach()) or q.dtype not in (torch.float32, torch.float64):
        return None
    flat = [t.detach().expand(q.shape).contiguous().view(-1) for t in (q, distance, v1, v2)]
    out = torch.empty(3, q.numel(), dtype=q.dtype)
    _native.angles(*flat, out, torch.get_num_threads())
    theta, s, bow = (row.view(q.shape) for row in out)
    return theta, s, bow


def _check(x1: Tensor, x2: Tensor, i: Tensor, j: Tensor) -> None:
    if x1.dtype != x2.dtype or x1.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"expected x1 and x2 both float32 or both float64, got {x1.dtype} and {x2.dtype}; convert one of them")
    if i.dtype != torch.int64 or j.dtype != torch.int64:
        raise TypeError(f"expected i and j as int64, got {i.dtype} and {j.dtype}; use .long()")
    if x1.ndim != 2 or x2.ndim != 2 or x1.shape[1] != x2.shape[1]:
        raise ValueError(f"expected x1 (N1, C) and x2 (N2, C) with one C, got {tuple(x1.shape)} and {tuple(x2.shape)}")
    if i.ndim != 1 or i.shape != j.shape:
        raise ValueError(f"expected i and j (K,) of one length, got {tuple(i.shape)} and {tuple(j.shape)}")
    if len({t.device for t in (x1, x2, i, j)}) > 1:
        devices = ", ".join(str(t.device) for t in (x1, x2, i, j))
        raise ValueError(f"expected x1, x2, i and j on one device, got {devices}; move them")
    for name, index, rows in (("i", i, len(x1)), ("j", j, len(x2))):
        outside = (index < 0) | (index >= rows)
        if bool(outside.any()):
            at = int(outside.nonzero()[0])
            raise IndexError(f"expected rows 0 to {rows - 1} in {name}, got {int(index[at])} at {at}; choose rows that exist")


def _plain(x: Tensor) -> bool:
    """On the CPU, and without a gradient, a tangent or a batch of functorch, which the compiled code would drop."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad):
        return False
    return not transformed(x)


def transformed(x: Tensor) -> bool:
    """Whether a tensor carries a tangent, or is inside of a transform of torch.func."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x) or forward_ad.unpack_dual(x).tangent is not None
