"""Parameters of activations: floats or 0-dim tensors, kept outside registration; copies detach them."""

from __future__ import annotations

import math
from types import SimpleNamespace

from torch import Tensor

from .law import Scalar, plain


class Scalars(SimpleNamespace):
    """Named scalars of one layer."""

    def __getstate__(self) -> dict:
        return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in vars(self).items()}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)

    def __reduce__(self):
        return Scalars, (), self.__getstate__()

    def __str__(self) -> str:
        return ", ".join(f"{k}={plain(v):g}" for k, v in vars(self).items())


def held(layer: str, **values: Scalar) -> Scalars:
    """Checked and kept."""
    for name, value in values.items():
        scalar = (isinstance(value, Tensor) and not value.ndim) or (
            isinstance(value, (int, float)) and not isinstance(value, bool)
        )
        if not scalar:
            raise TypeError(f"{layer}: expected {name} as a float or a 0-dim tensor, got {value!r}")
        if not math.isfinite(plain(value)):
            raise ValueError(f"{layer}: expected a finite {name}, got {plain(value)}")
    return Scalars(**{k: v if isinstance(v, Tensor) else float(v) for k, v in values.items()})
