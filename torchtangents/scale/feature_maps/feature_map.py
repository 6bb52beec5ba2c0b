"""What every map to explicit features offers: features of any inputs, in pieces, and regression on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...engine.progress import watched
from ...inputs import as_arguments, check_finite, check_result
from .pieces import Data, pieces, rows
from .ridge import Ridge, accumulate


class FeatureMap:
    """A fixed map phi with phi(x) phi(x')^T close to a kernel k(x, x'); `tt.scale.features` and `tt.scale.nystrom` make them.

    It cannot be changed, and it can be pickled: in another process, on the CPU or a GPU, in float32 or float64, it is one map.

    Attributes:
        dim: the number of features.

    Raises:
        AttributeError: on assignment.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.feature_maps import features
        >>> phi = features(torch.nn.Sequential(tt.nn.Linear(3, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1)), 256)
        >>> phi(torch.randn(5, 3)).shape, phi.dim
        (torch.Size([5, 256]), 256)
    """

    dim: int

    def __call__(self, x: Data, *, progress: bool | None = None) -> Tensor:
        """phi(x) (N, dim), of x's dtype and on its device; differentiable in x.

        Args:
            x: inputs (N, ..), a tensor, or anything with a shape that gives arrays when sliced (memmap, zarr).
            progress: True shows a bar, False none, None one when it takes more than a second.

        Raises:
            TypeError, ValueError: inputs of the wrong type or shape, or not finite.
            OverflowError: features that are not finite in this dtype.
        """
        blocks = [self._checked(rows(x, piece)) for piece in watched(pieces(x, self.dim), progress, "features", "piece")]
        return torch.cat(blocks)

    def fit(self, x: Data, y: Data, diag_reg: float, *, progress: bool | None = None) -> Ridge:
        """Ridge regression on the features: the mean of the Gaussian process whose kernel is phi phi^T.

        w = (Phi^T Phi + diag_reg tr(Phi Phi^T) / N I)^-1 Phi^T y, and phi(x) w is the mean of `tt.predict.Posterior` with the
        kernel phi phi^T and the same `diag_reg`. Phi^T Phi (dim, dim) is added up piece by piece in float64, so memory does
        not grow with N: 8 dim^2 bytes, three times; time is N dim^2 + dim^3 / 3 multiplications.

        Args:
            x: training inputs (N, ..), as in a call.
            y: targets (N, *O), of floating point; a tensor or anything that slices.
            diag_reg: variance of the observation noise, relative to the mean of the kernel's diagonal.
            progress: as in a call.

        Raises:
            SingularKernelError: Phi^T Phi has no inverse to float64's accuracy; a larger `diag_reg` helps.
            TypeError, ValueError: sizes or types that do not fit, NaN, a negative `diag_reg`.

        Rasmussen and Williams 2006, section 2.1.

        Example:
            >>> import torch, torchtangents as tt
            >>> from torchtangents.scale.feature_maps import features
            >>> net = torch.nn.Sequential(tt.nn.Linear(3, 8), torch.nn.ReLU(), tt.nn.Linear(8, 1))
            >>> x = torch.randn(500, 3)
            >>> ridge = features(net, 256).fit(x, x.prod(1), diag_reg=1e-3)
            >>> ridge.predict(torch.randn(4, 3)).shape
            torch.Size([4])
        """
        return Ridge(self, *accumulate(self, x, y, diag_reg, progress))

    def _checked(self, x: Tensor) -> Tensor:
        """The features of one piece, with its data checked before and the result after."""
        as_arguments(x, "x")
        check_finite((x,), "x")
        with torch.autocast(x.device.type, enabled=False):  # which would round the features' products
            out = self._features(x)
        check_result(out, out.dtype)
        return out

    def _features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _set(self, **attributes: Any) -> None:
        """Once, when it is made."""
        vars(self).update(attributes)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: a feature map does not change; make another one")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim})"
