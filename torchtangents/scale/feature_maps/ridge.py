"""Ridge regression on explicit features, added up in pieces."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...engine.progress import watched
from ...predict.check import require_number, require_tensor
from ...predict.singular import SingularKernelError
from .pieces import Data, pieces, rows

if TYPE_CHECKING:
    from .feature_map import FeatureMap


class Ridge:
    """A linear function of features, as `FeatureMap.fit` finds it.

    Attributes:
        map: the features.
        weights: (dim, *O), float64.

    Example:
        >>> import torch, torchtangents as tt
        >>> from torchtangents.scale.feature_maps import features
        >>> ridge = features(tt.nn.Linear(2, 1), 8).fit(torch.eye(2), torch.tensor([1., -1.]), diag_reg=1e-6)
        >>> ridge.predict(torch.eye(2))
        tensor([ 1.0000, -1.0000])
    """

    def __init__(self, map: FeatureMap, weights: Tensor, sizes: tuple[int, ...]):
        self.map, self.weights = map, weights.reshape(-1, *sizes)

    def predict(self, x: Data, *, progress: bool | None = None) -> Tensor:
        """phi(x) w: (N, *O), of x's dtype.

        Args:
            x, progress: as in a call of the feature map.

        Raises:
            TypeError, ValueError, OverflowError: as a call of the feature map.
        """
        flat, out = self.weights.flatten(1) if self.weights.ndim > 1 else self.weights[:, None], []
        for piece in watched(pieces(x, self.map.dim), progress, "predictions", "piece"):
            phi = self.map(rows(x, piece), progress=False)
            out.append((phi.double() @ flat.to(phi.device)).to(phi.dtype))
        return torch.cat(out).reshape(-1, *self.weights.shape[1:])

    def __repr__(self) -> str:
        return f"Ridge({self.map!r}, outputs={tuple(self.weights.shape[1:])})"


@torch.no_grad()
def accumulate(
    map: FeatureMap, x: Data, y: Data, diag_reg: Any, progress: bool | None
) -> tuple[Tensor, tuple[int, ...]]:  # fmt: skip
    """The weights (dim, O) and the shape of one target."""
    diag_reg = require_number("diag_reg", diag_reg)
    places = pieces(x, map.dim)
    pieces(y, 1, "y")
    points = x.shape[0]
    if y.shape[0] != points:
        raise ValueError(f"y: expected one row for each of the {points} inputs, got shape {tuple(y.shape)}")
    if math.prod(y.shape[1:]) == 0:
        raise ValueError(f"y: expected at least one output, got shape {tuple(y.shape)}")
    gram = right = None
    for piece in watched(places, progress, "features", "piece"):
        phi = map(rows(x, piece), progress=False).double()  # (n, dim)
        target = require_tensor("y", rows(y, piece)).to(phi).reshape(len(phi), -1)  # (n, O)
        if gram is None or right is None:
            gram, right = phi.new_zeros(map.dim, map.dim), phi.new_zeros(map.dim, target.shape[1])
        gram.addmm_(phi.mT, phi)
        right.addmm_(phi.mT, target)
    assert gram is not None
    assert right is not None
    return _solved(gram, right, diag_reg, points), tuple(y.shape[1:])


def _solved(gram: Tensor, right: Tensor, diag_reg: float, points: int) -> Tensor:
    """(G + diag_reg tr(G) / N I)^-1 b; G is overwritten. What float64 cannot tell from a singular matrix is refused."""
    trace = gram.diagonal().sum().item()  # of the kernel too: tr(Phi Phi^T)
    gram.diagonal().add_(diag_reg * trace / points)
    largest = torch.linalg.matrix_norm(gram, ord=1).item()  # at least the largest eigenvalue
    factor, info = torch.linalg.cholesky_ex(gram)
    smallest = 0.0 if info.item() else factor.diagonal().min().square().item()  # at least the smallest eigenvalue
    least = len(gram) * torch.finfo(torch.float64).eps * largest
    if smallest <= least:
        relative, mean = smallest * points / trace if trace > 0 else 0.0, trace / points
        advice = f"diag_reg={10 * least / mean:.1g} or more" if mean > 0 else "features that are not all zero"
        raise SingularKernelError(
            f"Phi^T Phi ({len(gram)} features of {points} points) is singular with diag_reg={diag_reg:g}: the smallest pivot of "
            f"its Cholesky factor is {relative:.3g} of the kernel's mean diagonal ({mean:.3g}); expected {advice}, or fewer "
            "features.",
            relative,
            10 * least / mean if mean > 0 else None,
        )
    return torch.cholesky_solve(right, factor)
