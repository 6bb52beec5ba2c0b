"""Feature maps of fully connected networks, layer by layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...nn.hyperparameters import skeleton
from ...predict.check import require_choice
from .arccosine import ArcCosine
from .chain import Kink, Random, Scale, chain, probe
from .count_sketch import TensorSketch
from .draws import seeds, stream
from .feature_map import FeatureMap
from .plan import Plan, Sizes
from .polynomial import Polynomial


def features(
    model: torch.nn.Module, dim: int, *, kernel: str = "ntk", method: str = "random", degree: int = 9,
    input_shape: tuple[int, ...] | None = None, generator: torch.Generator | None = None,
) -> NetworkFeatures:  # fmt: skip
    """Explicit features of a fully connected ReLU network of infinite width: phi(x) phi(x')^T is about its kernel.

    From phi = x / sqrt(C) and no psi, a random linear layer makes of the features phi of the NNGP and psi of the NTK

        phi' = [w_std phi, b_std],   psi' = [w_std phi, b_std, w_std psi]

    ("standard" parametrisation: psi' = [sqrt(in_features) phi, 1, w_std psi]), which is exact, and an activation f

        phi' = features of E f f',   psi' = S(psi (x) phi-dot),   phi-dot = features of E f' f',

    with S a tensor sketch, whose inner products are products in the mean. "random": phi' = f(W phi) / sqrt m and phi-dot =
    f'(W phi) / sqrt m, normal W (NTKRF). "sketch": a polynomial of <phi, phi'> / |phi| |phi'| with coefficients >= 0, by
    sketches of its powers (NTKSketch).

    Error: with one hidden layer, "random" is unbiased. An entry's standard deviation, relative to sqrt(k(x, x) k(x', x')), is
    about 2 sqrt(L / dim) at equal inputs with L hidden layers, and less between others; with more than one layer there is a
    bias of order 1 / dim, because each layer sees the approximate phi below it. "sketch" has about half the random error, and
    that of its polynomial besides, which does not fall with `dim` (of the derivative's kernel of each ReLU with degree 9: 3% at
    nearly equal inputs, 0.6% in the root mean square over angles). Linear layers alone have exact features, as many as there
    are.

    Sizes: layers inside have `dim` features and sketch into `dim` numbers. Of the `dim` features that come out, the NTK's last
    psi takes a part L / (L + 1) with L hidden layers, its share of the NTK at equal inputs (rounded down to a product of 2, 3
    and 5, for the transform), and phi the rest.

    On images of digits, landmarks from the data (`tt.scale.nystrom`) predict better than as many features of this kind (`python
    -m benchmarks.features`); these need no data and no kernel entries. Features of a finite network's gradients are
    `tt.empirical.Sketch`.

    Cost of an input: "random" dim^2 / 2 multiplications a layer, "sketch" about 3 degree transforms of length `dim` a layer,
    which took longer at 1,024 and 4,096 features. Memory: dim^2 / 2 normal numbers a layer ("random"), kept from call to call.

    Args:
        model: a chain of `tt.nn.Linear`, ReLU, LeakyReLU, Abs, ABReLU; what is done to data before the first Linear, and
            multiples, may be any code. Its hyperparameters now; later changes do not matter, and it keeps no weights.
        dim: the number of features.
        kernel: "ntk" or "nngp".
        method: "random" or "sketch".
        degree: of the polynomial, where method="sketch".
        input_shape: the shape of one input, where forward does not take rows of the first Linear.
        generator: where the seeds come from; None is torch's default generator. Numbers are drawn on the CPU whatever computes.

    Raises:
        UnsupportedError: any other layer or operation, by its dotted name.
        TypeError, ValueError: options out of range, or `dim` too small for the depth.

    Zandieh, Han, Avron, Shoham, Kim and Shin 2021 (arXiv 2106.07880); Han et al. 2022 (arXiv 2209.04121).

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.feature_maps import features
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1))
        >>> phi, x = features(net, 4096, generator=torch.Generator().manual_seed(0)), torch.eye(3)
        >>> bool((phi(x) @ phi(x).T - tt.ntk(net, x)).abs().max() < 0.02)
        True
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise ValueError(f"dim: expected a number of features >= 1, got {dim!r}")
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 2:
        raise ValueError(f"degree: expected a degree >= 2, got {degree!r}")
    require_choice("kernel", kernel, ("ntk", "nngp"))
    require_choice("method", method, ("random", "sketch"))
    net = skeleton(model)
    plan = Plan.of(*probe(net, input_shape), dim, kernel)
    return NetworkFeatures(net, plan, method, degree, seeds(len(plan.sizes), generator))


class NetworkFeatures(FeatureMap):
    """The map that `tt.scale.features` makes.

    Attributes:
        dim: the number of features: as asked for, or less by a few.
        plan: the network as it was read, and the sizes of features in it.
        method: "random" or "sketch".
    """

    def __init__(self, net: torch.nn.Module, plan: Plan, method: str, degree: int, seeds: tuple[int, ...]):
        self._set(_net=net, plan=plan, method=method, _degree=degree, _seeds=seeds, _drawn={}, dim=plan.dim)

    def _features(self, x: Tensor) -> Tensor:
        phi, steps = chain(self._net, x)
        if steps != self.plan.steps or phi.shape[1] != self.plan.width:
            raise ValueError(
                f"x: expected inputs like those that the map was made for ({self.plan.width} numbers reach the first Linear), "
                f"got shape {tuple(x.shape)}, with which forward does something else; pass input_shape={tuple(x.shape[1:])} "
                "to tt.scale.features"
            )
        phi, psi = phi / math.sqrt(phi.shape[1]), None
        drawn = iter(self._draw(phi))
        for step in steps:
            if isinstance(step, Random):
                phi, psi = _affine(step, phi, psi, self.plan.ntk)
            elif isinstance(step, Scale):
                phi, psi = step.c * phi, None if psi is None else step.c * psi
            else:
                expand, sketch = next(drawn)
                _require_direction(step, phi, psi)
                phi, slopes = expand(phi)
                psi = None if sketch is None else sketch(psi, slopes)
        return psi if self.plan.ntk else phi  # type: ignore[return-value]

    def _draw(self, like: Tensor) -> list[tuple[ArcCosine | Polynomial, TensorSketch | None]]:
        """The random parts of every activation, for a dtype and device; kept."""
        key = like.dtype, like.device
        if key not in self._drawn:
            self._drawn[key] = [self._part(seed, sizes, like) for seed, sizes in zip(self._seeds, self.plan.sizes, strict=True)]
        return self._drawn[key]

    def _part(self, seed: int, sizes: Sizes, like: Tensor) -> tuple[ArcCosine | Polynomial, TensorSketch | None]:
        generator, out = stream(seed), (sizes.values, sizes.slopes)
        expand: ArcCosine | Polynomial
        if self.method == "random":
            expand = ArcCosine(sizes.kink, sizes.phi, out, generator, like)
        else:
            expand = Polynomial(sizes.kink, sizes.phi, out, sizes.inside, self._degree, generator, like)
        sketch = TensorSketch((sizes.psi, sizes.slopes), sizes.products, generator, like) if self.plan.ntk else None
        return expand, sketch

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_drawn": {}}  # the seeds are enough


def _affine(step: Random, phi: Tensor, psi: Tensor | None, ntk: bool) -> tuple[Tensor, Tensor | None]:
    """[w phi, b] and [grow phi, shift, w psi], without columns of zeros."""
    one = phi.new_ones(len(phi), 1)
    out = torch.cat([step.w * phi, *([step.b * one] if step.b else [])], 1)
    if not ntk:
        return out, None
    parts = [step.grow * phi, *([step.shift * one] if step.shift else []), *([] if psi is None else [step.w * psi])]
    return out, torch.cat(parts, 1)


def _require_direction(step: Kink, phi: Tensor, psi: Tensor | None) -> None:
    """Refuse inputs that are zero at a kink where the NTK below is not: the kernel is not positive semi-definite there."""
    if psi is None:
        return
    wrong = (phi == 0).all(1) & (psi != 0).any(1)
    if bool(wrong.any()):
        raise ValueError(
            f"{step.layer}: an input of the piece (row {int(wrong.nonzero()[0])}) is exactly 0 at this activation, whose "
            "derivative there has no value, while biases below are trained (parameterization='standard' with b_std=0). No "
            "feature map has the kernel that tt.ntk gives it. Expected b_std > 0, bias=False, or inputs that are not 0"
        )
