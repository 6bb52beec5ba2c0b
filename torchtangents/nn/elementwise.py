"""Any function of the user's as an activation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from ..covariance.dual import Dual
from ..covariance.given import Form, Given
from ..covariance.quadrature import Quadrature
from .activation import Activation


class Elementwise(Activation):
    """Any function of each element, its kernel by quadrature to 1e-8 in float64, or in a closed form that is given.

    K'(u, v) = E fn(u) fn(v) over the Gaussian pair (u, v) of variances v1, v2 and covariance q.

    Args:
        fn: elementwise and differentiable by autograd, tensor to tensor; None where only a kernel is known (then
            forward refuses, and nngp is needed).
        breakpoints: the arguments where fn is not analytic (kinks and jumps).
        nngp: K' as a function of tensors (v1, v2, q) of one shape, elementwise. Not checked against fn.
        slope: E fn'(u) fn'(v) likewise; None is the derivative of nngp by q, by autograd.

    Raises:
        TypeError: fn or a closed form is not callable, neither fn nor nngp is given, or slope without nngp; when a kernel
            is computed, a closed form that does not return a tensor of the shape of its arguments.
        ValueError: when a kernel is computed, if the integral does not converge (a missing breakpoint, a function that
            grows too fast).

    Trefethen and Weideman 2014 (SIAM Review 56) for the rule; Price 1958 (IRE Transactions IT-4) for the derivative.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), tt.nn.Elementwise(torch.square))
        >>> tt.nngp(net, torch.ones(1, 1))
        tensor([[3.]])
        >>> given = tt.nn.Elementwise(torch.square, nngp=lambda v1, v2, q: v1 * v2 + 2 * q**2)
        >>> tt.nngp(torch.nn.Sequential(tt.nn.Linear(1, 8, b_std=0.), given), torch.ones(1, 1))
        tensor([[3.]])
    """

    def __init__(
        self,
        fn: Callable[[Tensor], Tensor] | None = None,
        breakpoints: Iterable[float] = (),
        *,
        nngp: Form | None = None,
        slope: Form | None = None,
    ):
        super().__init__()
        if fn is None and nngp is None:
            raise TypeError("Elementwise: expected a function of a tensor, or nngp=, the closed form of its kernel")
        if slope is not None and nngp is None:
            raise TypeError("Elementwise: expected nngp= beside slope=")
        for name, value in (("fn", fn), ("nngp", nngp), ("slope", slope)):
            if value is not None and not callable(value):
                raise TypeError(f"Elementwise: expected {name} as a function of tensors, got {value!r}")
        self.fn, self.breakpoints, self.nngp, self.slope = fn, tuple(float(b) for b in breakpoints), nngp, slope

    @property
    def dual(self) -> Dual:
        name = "Elementwise" if self.fn is None else getattr(self.fn, "__name__", type(self.fn).__name__)
        if self.nngp is not None:
            return Given(self.fn, self.nngp, self.slope, self.breakpoints, name)
        assert self.fn is not None
        return Quadrature(self.fn, self.breakpoints, name, kinked=bool(self.breakpoints))

    def extra_repr(self) -> str:
        return repr(self.dual)
