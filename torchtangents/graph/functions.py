"""The functions of torch that have a rule, whichever way they are called: F.relu, torch.relu, x.relu(), nn.ReLU()(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .arithmetic import ARITHMETIC
from .axes import AXES
from .pointwise import POINTWISE
from .pooling import POOLING

_T = torch.Tensor

TRANSPARENT: set[Any] = {
    _T.shape.__get__, _T.ndim.__get__, _T.dtype.__get__, _T.device.__get__, _T.is_cuda.__get__, _T.layout.__get__,
    _T.requires_grad.__get__, _T.is_sparse.__get__, _T.is_quantized.__get__, _T.names.__get__, _T.itemsize.__get__,
    _T.nbytes.__get__, _T.is_meta.__get__, _T.is_leaf.__get__, _T._version.__get__, _T.is_mps.__get__, _T.is_nested.__get__,
    _T.size, _T.dim, _T.numel, _T.nelement, _T.__len__, _T.ndimension, _T.is_floating_point, _T.is_contiguous,
    _T.element_size, _T.get_device, _T.__hash__, _T.__repr__, _T.__format__, _T.is_complex,
    torch.is_floating_point, torch.is_complex, torch.numel,
}  # fmt: skip

HANDLERS: dict[Any, Callable] = {**ARITHMETIC, **AXES, **POINTWISE, **POOLING}
