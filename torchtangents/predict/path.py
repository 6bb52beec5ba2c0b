"""Where training has led: outputs, their velocity, and the weights that carry both to other points."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Path(NamedTuple):
    """Outputs of the training points at T times, as rows (T, R, C), by any solver.

    The outputs of other points with kernel K* are f*_0 + carry q*_0 + K* weights and their velocities
    kept q*_0 + K* impulse; the last four are None without momentum.
    """

    fx: Tensor  # (T, R, C)
    weights: Tensor  # (T, R, C)
    qx: Tensor | None = None  # (T, R, C)
    impulse: Tensor | None = None  # (T, R, C)
    carry: Tensor | None = None  # (T,)
    kept: Tensor | None = None  # (T,)


class FlowState(NamedTuple):
    """The state of training at one time, in float64, from which `GradientFlow.advance` goes on.

    Attributes:
        fx_train, fx_test: outputs (N, *O) and (M, *O), numbers allowed.
        qx_train, qx_test: their velocities under momentum (per sqrt(learning_rate) of time in the flow, per step in descent);
            None at rest.
        t: the training time so far.

    Example:
        >>> import torch, torchtangents as tt
        >>> flow = tt.predict.GradientFlow(torch.eye(2), torch.ones(2), momentum=0.9)
        >>> state = flow.advance(10., flow.advance(4.))
        >>> bool((state.fx_train - flow.at(10.).train).abs().max() < 1e-6)
        True
    """

    fx_train: float | Tensor = 0.0
    fx_test: float | Tensor | None = None
    qx_train: float | Tensor | None = None
    qx_test: float | Tensor | None = None
    t: float = 0.0
