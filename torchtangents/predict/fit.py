"""Hyperparameters of a network by gradients through its kernel."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.hyperparameters import Hyperparameter, hyperparameters, skeleton
from ..nn.law import plain
from .check import require_choice, require_number, require_targets
from .evidence import OBJECTIVES, best_scale, log_density
from .fitted import Fit, kernel_of
from .inputs import Inputs, own, require_inputs
from .learned import SPAN, Knob, dotted, knobs, outermost
from .search import climb

HIGHEST = 1e4  # of diag_reg: all noise


def fit(
    net: nn.Module,
    x_train: Inputs,
    y_train: Tensor,
    *,
    kernel: str = "nngp",
    objective: str = "evidence",
    diag_reg: float = 1e-2,
    learn: Sequence[str] | None = None,
    tied: bool = True,
    scale: bool | None = None,
    max_steps: int = 200,
    patience: int = 10,
    tolerance: float = 1e-6,
    gradient_tolerance: float = 1e-5,
    tile: int | None = None,
    progress: bool | None = None,
    backend: str = "auto",
) -> Fit:
    """Find the hyperparameters with the largest evidence, or leave-one-out log density, by L-BFGS on their logarithms.

    The Gaussian process has mean zero: centre y_train. `net` stays as it is.

    Which numbers can be told apart: noise is relative, so the scale c of the kernel has its best value in closed form
    (c = y^T Q^-1 y / y.size for the evidence) and is no coordinate of the search; the last layer takes it up, times
    sqrt(c). Networks of homogeneous activations (ReLU) without biases depend on w_std by c alone: it stays at its start,
    but for the last layer. With biases the ratio b_std / w_std counts; with bounded activations (Erf) w_std of the first
    layer is an inverse length scale. There can be several maxima: try another start where `values` end at a bound.

    Args:
        net: a network of `torchtangents.nn` layers, Gaussian outputs; its hyperparameters are the start.
        x_train: inputs (N, ...), or a tuple of forward's arguments; float64 allows smaller noise.
        y_train: (N,) or (N, O) targets, of the kernel's dtype; outputs share the kernel.
        kernel: "nngp" or "ntk", the covariance of the process.
        objective: "evidence" or "leave_one_out".
        diag_reg: start of the regulariser, relative to the mean of the kernel's diagonal; it stays above the root of the
            dtype's rounding (1.5e-8 in float64, 3.5e-4 in float32) and below 1e4.
        learn: names of what to learn: "diag_reg", "w_std", "b_std", "a", or "0.w_std" for one layer's. None is diag_reg and all
            standard deviations. A bias whose b_std is the number 0 is no term of the kernel, and stays out.
        tied: one factor for all layers' numbers of one name, so equal ones stay equal; False is one each. Other numbers
            than positive ones (Erf's a) move by one difference. Factors stay between 1/1000 and 1000, differences within 7.
        scale: whether the last layer's standard deviations take up the scale of the kernel. None is where they are learned and do
            scale it (in the parametrisation "standard" an NTK does not), True insists, False leaves it to w_std.
        max_steps: steps of L-BFGS at most.
        patience, tolerance: stops when as many steps gain less than `tolerance` in log density a target.
        gradient_tolerance: converged where no derivative (a target, by a logarithm) exceeds it.
        tile, backend: as in `torchtangents.ntk`; tile=32 bounds the memory of gradients through activations without a closed
            form (Tanh), which otherwise grows as N^2, some 200 kB a pair.
        progress: True shows a bar, False none, None one when it takes more than a second.

    Returns:
        A `Fit`: the network (a copy with the same weights, which under "standard" are as they were drawn at the start), its
        noise, and why the search stopped.

    Raises:
        UnsupportedError, ValueError: the network leaves positions, or has outputs that are not Gaussian.
        SingularKernelError, OverflowError: at the start; later that ends the search, and is its reason.
        TypeError, ValueError: unknown names, sizes, dtypes or devices that do not fit, NaN, nothing to learn.

    Rasmussen and Williams 2006, sections 5.4.1 and 5.4.2; Lee et al. 2018 (arXiv 1711.00165) for networks.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(1, 64), tt.nn.Erf(), tt.nn.Linear(64, 1))
        >>> x = torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
        >>> y = torch.sin(3 * x[:, 0])
        >>> found = tt.predict.fit(net, x, y, progress=False)
        >>> list(found.values), found.history[-1] > found.history[0]
        (['0.w_std', '0.b_std', '2.w_std', '2.b_std'], True)
        >>> mean, covariance = found.ensemble().at(None, x + 0.1)
    """
    from ..kernels import require_gaussian_output

    require_choice("kernel", kernel, ("nngp", "ntk"))
    require_choice("objective", objective, OBJECTIVES)
    start = require_number("diag_reg", diag_reg, positive=True)
    for name, count in (("max_steps", max_steps), ("patience", patience)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}: expected a number of steps >= 1, got {count!r}.")
    for name, number in (("tolerance", tolerance), ("gradient_tolerance", gradient_tolerance)):
        require_number(name, number)
    require_gaussian_output(net, require_inputs("x_train", x_train))
    net = getattr(net, "_orig_mod", net)  # of torch.compile
    model = _Model(skeleton(net), own(x_train), kernel, {"tile": tile, "backend": backend, "progress": False})
    first = model()
    y_train = require_targets(y_train, first, k_name="the kernel").clone()
    noisy = learn is None or "diag_reg" in learn
    wanted = learn if learn is None or isinstance(learn, str) else [name for name in learn if name != "diag_reg"]
    model.knobs = knobs(model.net, wanted, tied)
    last = model.last(first, scale)
    if not tied:  # its scale is found in closed form, so these two cannot be told apart
        model.knobs = [knob for knob in model.knobs if not last or dotted(knob.places[0]) != dotted(last[0])]
    limits = [(-SPAN, SPAN)] * len(model.knobs) + ([_limits(start, first.dtype)] if noisy else [])
    if not limits:
        raise ValueError("learn: expected at least one number to learn, got none; pass None, or names such as 'w_std'.")
    y = y_train.double()

    def density(point: Tensor) -> Tensor:
        k, reg = model(point).double(), start * point[-1].exp() if noisy else start
        whole = best_scale(k, y, reg, objective).density if last else log_density(k, y, reg, objective)
        return whole / y.numel()

    names = [*(knob.name for knob in model.knobs), *(["diag_reg"] if noisy else [])]
    found = climb(
        density, limits, names, max_steps=max_steps, patience=patience, tolerance=tolerance,
        gradient_tolerance=gradient_tolerance, progress=progress,
    )  # fmt: skip
    reg = start * math.exp(found.point[-1].item()) if noisy else start
    k = model(found.point).detach().double()
    c = best_scale(k, y, reg, objective).scale.item() if last else 1.0
    for place in last:
        place.assign(place.value * math.sqrt(c))
    moved = {dotted(h) for h in [*(h for knob in model.knobs for h in knob.places), *last]}
    values = {dotted(h): plain(h.value) for h in hyperparameters(model.net) if dotted(h) in moved}
    fitted = copy.deepcopy(net)
    for h in hyperparameters(fitted):
        if dotted(h) in values:
            h.assign(values[dotted(h)])
    noise = reg * c * k.diagonal().mean().item()
    given = {"tile": tile, "progress": progress, "backend": backend}
    return Fit(fitted, values, reg, noise, found.history, found.reason, found.converged, (model.x, y_train, kernel, given))


class _Model:
    """The kernel of the training points as a function of the learned numbers."""

    def __init__(self, net: nn.Module, x: Inputs, kernel: str, options: dict[str, Any]):
        self.net, self.x, self.kernel, self.options = net, x, kernel, options
        self.knobs: list[Knob] = []

    def __call__(self, point: Tensor | None = None) -> Tensor:
        """At a point (P,), or as the network stands: (N, N)."""
        if point is not None:
            for knob, u in zip(self.knobs, point, strict=False):
                knob.turn(u)
        return kernel_of(self.net, self.x, self.kernel, self.options)

    def last(self, first: Tensor, scale: bool | None) -> list[Hyperparameter]:
        """The standard deviations that take up the scale of the kernel, `first` at the start; [] for none."""
        require_choice("scale", scale, (None, True, False))
        last, learned = outermost(self.net), {dotted(h) for knob in self.knobs for h in knob.places}
        if scale is False or (scale is None and not {dotted(h) for h in last} <= learned):
            return []
        starts = [h.value for h in last]
        for h in last:
            h.assign(2 * h.value)
        with torch.no_grad():
            gap = (self() - 4 * first).abs().max().item()
        for h, value in zip(last, starts, strict=True):
            h.assign(value)
        if last and gap <= math.sqrt(torch.finfo(first.dtype).eps) * first.detach().abs().max().item():
            return last
        if scale:
            raise ValueError("scale: expected a last layer that scales the whole kernel, and found none; pass scale=False.")
        return []


def _limits(start: float, dtype: torch.dtype) -> tuple[float, float]:
    lowest = math.sqrt(torch.finfo(dtype).eps)
    if not lowest <= start <= HIGHEST:
        raise ValueError(f"diag_reg: expected a start between {lowest:.3g} (in {dtype}) and {HIGHEST:g}, got {start:g}.")
    return math.log(lowest / start), math.log(HIGHEST / start)
