"""Kernel matrices: their spectrum, and their entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..predict.check import require_square, require_targets
from ..predict.spectrum import spectrum as eigenvalues
from .axes import BLUE, array, axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST = 1e-12  # of the largest eigenvalue: what is below is rounding


def spectrum(k: Tensor, *, label: str | None = None, ax: Axes | None = None) -> Axes:
    """The eigenvalues of a kernel matrix, largest first, on two logarithmic axes: a power law is a straight line.

    Eigenvalues below rounding (1e-12 of the largest, 1e-7 in float32) are left out.

    Args:
        k: (N, N) symmetric.
        label: its name in the legend, for several spectra on one axes.
        ax: axes to draw on; None makes a figure.

    Raises:
        TypeError, ValueError: not a symmetric matrix of finite numbers, or none of its eigenvalues is positive.

    Example:
        >>> import torch, torchtangents as tt
        >>> tt.plot.spectrum(torch.diag(torch.tensor([4., 2., 1.]))).get_yscale()
        'log'
    """
    values = eigenvalues(k).detach()
    least = max(LEAST, torch.finfo(values.dtype).eps) * values[0]
    kept = values[values > least.clamp(min=0)]
    if not len(kept):
        raise ValueError(f"k: expected a positive eigenvalue, the largest is {values[0].item():.3g}; check the kernel.")
    ax = axes(ax)
    ax.loglog(range(1, len(kept) + 1), array(kept), ".-", label=label, color=None if label else BLUE)
    ax.set(xlabel="rank", ylabel="eigenvalue", title="spectrum")
    if label:
        ax.legend(frameon=False)
    return ax


def kernel_matrix(k: Tensor, labels: Tensor | None = None, *, ax: Axes | None = None) -> Axes:
    """A kernel matrix as an image with its scale; sorted by label if labels are given, with lines between the classes.

    Args:
        k: (N, N) symmetric.
        labels: (N,) integers, or (N, O) one-hot targets, whose largest column counts.
        ax: axes to draw on; None makes a figure.

    Raises:
        TypeError, ValueError: not a symmetric matrix of finite numbers, or labels of another number.

    Example:
        >>> import torch, torchtangents as tt
        >>> ax = tt.plot.kernel_matrix(torch.eye(4), labels=torch.tensor([1, 0, 1, 0]))
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['0', '1']
    """
    k = require_square("k", k).detach()
    names = None
    if labels is not None:
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels: expected a torch.Tensor, got {type(labels).__name__}; convert it with torch.as_tensor.")
        require_targets(labels.to(k), k, "labels", "k")
        labels = labels.argmax(1) if labels.ndim == 2 else labels
        order = labels.argsort(stable=True)
        k, (names, counts) = k[order][:, order], labels.unique(return_counts=True)
        ends = counts.cumsum(0).cpu()
    ax = axes(ax)
    image = ax.imshow(array(k), cmap="viridis", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="kernel")
    if names is None:
        ax.set(xlabel="input", ylabel="input")
        return ax
    for end in ends[:-1].tolist():
        ax.axhline(end - 0.5, color="white", lw=0.8)
        ax.axvline(end - 0.5, color="white", lw=0.8)
    middles, text = (ends - counts.cpu() / 2 - 0.5).tolist(), [f"{name:g}" for name in names.tolist()]
    ax.set_xticks(middles, text)
    ax.set_yticks(middles, text)
    ax.set(xlabel="label", ylabel="label")
    return ax
