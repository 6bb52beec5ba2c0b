"""Whether a model treats the inputs of a batch one by one, without which pieces of a data set are not the data set."""

from __future__ import annotations

import torch
from torch import Tensor

from ...covariance.laws import Input
from ...graph.program import Program, record
from ...inputs import as_arguments

_TOLERANCE = 1e-3  # of the largest number that reaches the first layer; rounding is far below, a batch's statistics above


@torch.no_grad()
def require_separate(net: torch.nn.Module, x: Tensor, program: Program | None = None) -> None:
    """Refuse code before the first random layer that mixes the inputs of a batch, as x - x.mean(0) does.

    The first and the last input alone must reach that layer as they do in the batch.

    Args:
        net: the model.
        x: (n, ..) inputs.
        program: what was recorded of them, if anything.

    Raises:
        ValueError: they do not.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.feature_maps.separate import require_separate
        >>> require_separate(tt.nn.Linear(2, 1), torch.eye(2))
    """
    whole = _data(record(net, as_arguments(x, "x")) if program is None else program)
    for i in {0, len(x) - 1} if len(x) > 1 else ():
        for values, alone in zip(whole, _data(record(net, as_arguments(x[i : i + 1], "x"))), strict=True):
            largest = torch.maximum(values[i].abs().max(), alone.abs().max())
            if not (values[i] - alone[0]).abs().max() <= _TOLERANCE * largest:
                raise ValueError(
                    f"{type(net).__name__}: input {i} of a piece of x reaches the first layer with other numbers than alone, so "
                    "forward mixes the inputs of a batch (a mean or maximum over axis 0), and pieces of x would each have "
                    "features of their own. Expected statistics of the training data as constants"
                )


def _data(program: Program) -> list[Tensor]:
    return [step.values for step in program.steps if isinstance(step, Input) and step.values.numel()]
