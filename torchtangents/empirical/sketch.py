"""Random projections of gradients: features whose inner products are the NTK in the mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ..inputs import check_result
from ..surroundings import uncompiled
from .axes import Axes
from .functional import Function, Inputs, Selection
from .gradients import SampleGradients

_SIGNS = 1 << 22  # signs held at once


class Sketch:
    """One random projection of a network's gradients; the same for every data set that it is called with.

    phi(x)_k = 1/sqrt(dim C) sum_c S_c g_kc(x), with g_kc = d f_kc(x) / dp and independent signs S_c (dim, P): then
    E phi(x) phi(x')' = Theta(x, x'), and the variance of an entry is below (Theta(x, x) Theta(x', x') + Theta(x, x')^2) / dim.

    The signs come anew from their seeds for every block of samples, 4 Mi of them at once (16 MiB in float32), so what is held is
    these, the gradients of a block of samples (at most 1 GiB, or a quarter of the free memory), and the result
    (samples x dim). A million parameters and 50,000 samples at dim=1,024 take 1.2 GiB and about 10^14 operations. On another
    device, or in another version of torch, the signs are others.

    Args:
        model: any module, in evaluation mode; its parameters are those at each call.
        dim: the number of features.
        generator: where the seeds come from; None is torch's default generator.
        trace_axes, parameters: as in `diagonal`.

    Raises:
        ValueError: `dim` below 1; a network that has changed its parameters' sizes.

    Achlioptas 2003 (Journal of Computer and System Sciences 66(4), 671-687); Park et al. 2023 (arXiv 2303.14186), "TRAK".

    Example:
        >>> import torch, torchtangents as tt
        >>> sketch = tt.empirical.Sketch(torch.nn.Linear(3, 1), dim=64)
        >>> train, test = sketch(torch.randn(5, 3)), sketch(torch.randn(2, 3))
        >>> (test @ train.T).shape                                         # an estimate of the NTK
        torch.Size([2, 5])
    """

    def __init__(
        self, model: nn.Module, *, dim: int, generator: torch.Generator | None = None,
        trace_axes: Iterable[int] | int = (-1,), parameters: Selection = None,
    ):  # fmt: skip
        if not isinstance(dim, int) or isinstance(dim, bool) or dim < 1:
            raise ValueError(f"dim: expected a number of features >= 1, got {dim!r}")
        self.model, self.dim, self.trace_axes, self.parameters = model, dim, trace_axes, parameters
        device = "cpu" if generator is None else generator.device
        self._seeds = torch.Generator().manual_seed(
            int(torch.randint(2**63 - 1, (), generator=generator, device=device))
        ).get_state()  # fmt: skip
        self._size: int | None = None

    @uncompiled
    def __call__(self, x: Inputs, *, progress: bool | None = None) -> Tensor:
        """The features of every sample: (N, *K, dim).

        Args:
            x: inputs, as in `ntk_vp`.
            progress: as in `diagonal`.

        Raises:
            ValueError, TypeError, OverflowError: as `diagonal`.
        """
        function = Function(self.model, x, self.parameters)
        axes = Axes(function.output(), self.trace_axes)
        gradients = SampleGradients(function, copies=2)
        if self._size not in (None, gradients.size):
            raise ValueError(f"expected a network of {self._size} trainable parameters, as before, got {gradients.size}")
        self._size = gradients.size
        channel = axes.split(torch.arange(gradients.outputs, device="cpu").reshape(1, *axes.shape))[0]  # (K, C): outputs by place
        place = {int(channel[k, c]): (k, c) for k in range(axes.k) for c in range(axes.c)}
        found = torch.zeros(function.data.size, axes.k, self.dim, dtype=function.dtype, device=function.device)
        for rows, outputs, block in gradients.of_outputs(function.data, progress):
            places = [place[o] for o in range(outputs.start, outputs.stop)]
            for c in sorted({c for _, c in places}):
                which = [i for i, (_, each) in enumerate(places) if each == c]
                ks = [places[i][0] for i in which]
                start = 0
                for signs in self._signs(c, gradients.size, function.dtype, function.device):  # (p, dim)
                    part = block[which, :, start : start + len(signs)] @ signs  # (q, n, dim)
                    found[rows, ks] += part.transpose(0, 1)
                    start += len(signs)
        found /= math.sqrt(self.dim * axes.c)
        check_result(found, function.dtype)
        return found.reshape(function.data.size, *axes.kept, self.dim)

    def _signs(self, channel: int, size: int, dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
        """The signs (P, dim) of a traced output, in pieces that do not depend on how samples are batched."""
        seeds = torch.Generator()
        seeds.set_state(self._seeds)
        of_channel = torch.Generator(device)
        of_channel.manual_seed(int(torch.randint(2**63 - 1, (channel + 1,), generator=seeds, device="cpu")[-1]))
        rows, words = max(1, _SIGNS // self.dim), math.ceil(self.dim / 64)
        shift = torch.arange(8, dtype=torch.uint8, device=device)
        for start in range(0, size, rows):
            count = min(rows, size - start)
            bits = torch.empty(count, words, dtype=torch.int64, device=device).random_(-(2**63), None, generator=of_channel)
            bits = bits.view(torch.uint8)[:, : math.ceil(self.dim / 8)]  # (p, bytes)
            bits = (bits[:, :, None] >> shift & 1).flatten(1)[:, : self.dim]
            yield bits.to(dtype).mul_(2).sub_(1)


def features(
    model: nn.Module, x: Inputs, *, dim: int, generator: torch.Generator | None = None,
    trace_axes: Iterable[int] | int = (-1,), parameters: Selection = None, progress: bool | None = None,
) -> Tensor:  # fmt: skip
    """Random features of every sample, whose inner products are the empirical NTK in the mean: `Sketch` for one data set.

    Features of two data sets belong together only if they come from one `Sketch`, or from generators in the same state.

    Args:
        model, dim, generator, trace_axes, parameters: as in `Sketch`.
        x, progress: as in `diagonal`.

    Returns:
        (N, *K, dim).

    Raises:
        ValueError, TypeError, OverflowError: as `Sketch` and `diagonal`.

    Park et al. 2023 (arXiv 2303.14186).

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.empirical.features(torch.nn.Linear(3, 2), torch.randn(5, 3), dim=16).shape
        torch.Size([5, 16])
    """
    sketch = Sketch(model, dim=dim, generator=generator, trace_axes=trace_axes, parameters=parameters)
    return sketch(x, progress=progress)
