"""The dual of a function whose closed form the user knows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..native import transformed
from .dual import Dual
from .pair import Pair
from .quadrature import Quadrature
from .refusal import refuse

Form = Callable[[Tensor, Tensor, Tensor], Tensor]  # (v1, v2, q), broadcast and in float64


class Given(Dual):
    """E f f' = nngp(v1, v2, q); E f' f' = slope(v1, v2, q), or the derivative of nngp by q (Price 1958, IRE Trans. IT-4)."""

    tabulates = False

    def __init__(
        self,
        function: Callable[[Tensor], Tensor] | None,
        nngp: Form,
        slope: Form | None,
        breakpoints: tuple[float, ...],
        name: str,
    ):
        self._function, self._nngp, self._slope, self.name = function, nngp, slope, name
        self.breakpoints, self.kinked, self.finite = breakpoints, bool(breakpoints), function is not None

    def function(self, x: Tensor) -> Tensor:
        if self._function is None:
            refuse(f"{self.name} was given as a kernel alone, so it has no forward, mean or gain; expected fn=")
        return self._function(x)

    def _checked(self, value: Tensor, pair: Pair, what: str) -> Tensor:
        if not isinstance(value, Tensor) or value.shape != pair.shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{self.name}: expected {what}(v1, v2, q) elementwise, of shape {tuple(pair.shape)}, got {got}")
        return value

    @staticmethod
    def _parts(pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        v1, v2, q = (t.expand(pair.shape) for t in (pair.v1, pair.v2, pair.q))
        return v1, v2, q

    def nngp(self, pair: Pair) -> Tensor:
        return self._checked(self._nngp(*self._parts(pair)), pair, "nngp")

    def slope(self, pair: Pair) -> Tensor:
        v1, v2, q = self._parts(pair)
        if self._slope is not None:
            return self._checked(self._slope(v1, v2, q), pair, "slope")
        if any(transformed(t) for t in (v1, v2, q)):
            return torch.func.jvp(lambda c: self._nngp(v1, v2, c), (q,), (torch.ones_like(q),))[1]
        outer = torch.is_grad_enabled() and (self._holds_parameters or any(t.requires_grad for t in (v1, v2, q)))
        with torch.inference_mode(False), torch.enable_grad():
            v1, v2, q = (t.clone() if t.is_inference() else t for t in (v1, v2, q))
            inner = q.clone() if q.requires_grad else q.clone().requires_grad_()
            value = self._checked(self._nngp(v1, v2, inner), pair, "nngp")
            if not value.requires_grad:
                return torch.zeros_like(q)
            (out,) = torch.autograd.grad(value.sum(), inner, create_graph=outer, allow_unused=True)
        return torch.zeros_like(q) if out is None else out

    @property
    def _holds_parameters(self) -> bool:
        """Whether the closed form refers to tensors to differentiate by."""
        one = torch.ones(1, dtype=torch.float64)
        return self._nngp(one, one, one / 2).requires_grad

    def mean(self, v: Tensor) -> Tensor:
        return Quadrature(self.function, self.breakpoints, self.name).mean(v)

    def __repr__(self) -> str:
        return self.name
