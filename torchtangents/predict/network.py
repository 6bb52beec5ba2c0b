"""The kernels of one network between the training points and the test points last asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from ..covariance.refusal import UnsupportedError
from .inputs import Inputs, batches, count, own, require_inputs, same, state


class Pair(NamedTuple):
    """The NNGP and the NTK between the same points."""

    nngp: Tensor
    ntk: Tensor


class NetworkKernels:
    """Kernels of `net`; those of the test points are kept until other points are asked for.

    Points are recognised by identity: the same tensors, unchanged in place.
    """

    def __init__(self, net: nn.Module, x_train: Inputs, options: dict[str, Any], train: Pair | None = None):
        from ..kernels import require_gaussian_output

        self.net, self.options = net, options
        self.x_train = own(require_inputs("x_train", x_train))
        require_gaussian_output(net, self.x_train)
        if train is not None:
            self._require_same_net(train)
        self.train = self._pair(self.x_train) if train is None else train  # (N, N) each
        self._x: Inputs | None = None
        self._state: tuple[object, ...] | None = None
        self._kept: dict[str, Pair] = {}

    def cross(self, x: Inputs) -> Pair:
        """Between test and training points, (M, N) each."""
        self._turn_to(x)
        if "cross" not in self._kept:
            self._kept["cross"] = self._pair(x, self.x_train)
        return self._kept["cross"]

    def prior(self, x: Inputs, covariance: str) -> Pair:
        """Of the test points with themselves: (M, M) each where `covariance` is "full", (M,) where it is "diagonal"."""
        self._turn_to(x)
        if covariance not in self._kept:
            if "full" in self._kept:
                return Pair(*(k.diagonal() for k in self._kept["full"]))
            self._kept[covariance] = self._pair(x, diagonal=covariance == "diagonal")
        return self._kept[covariance]

    def _require_same_net(self, train: Pair) -> None:
        """Refuse kernels that were not computed with this network, told by their first two points."""
        for name, k, saved in zip(Pair._fields, self._pair(next(batches(self.x_train, 2))), train, strict=True):
            gap = (k - saved[:2, :2]).abs().max().item()
            if gap > 1e-3 * k.diagonal().abs().max().item():
                raise ValueError(
                    f"net: its {name} differs by {gap:.3g} from the one that was saved, at the first training points; pass the "
                    "network that the ensemble was made with."
                )

    def _turn_to(self, x: Inputs) -> None:
        now = state(x)
        if now is None or now != self._state or not same(x, self._x):
            self._x, self._state, self._kept = x, now, {}

    def _pair(self, x1: Inputs, x2: Inputs | None = None, *, diagonal: bool = False) -> Pair:
        from ..kernels import kernels

        pair = kernels(self.net, x1, x2, diagonal=diagonal, **self.options)
        expected = (count(x1),) if diagonal else (count(x1), count(x1 if x2 is None else x2))
        if tuple(pair.nngp.shape) != expected:
            raise UnsupportedError(
                f"the network leaves positions at its output: expected a kernel of shape {expected}, got "
                f"{tuple(pair.nngp.shape)}; end the network with a global pool, or Flatten and a Linear."
            )
        return Pair(pair.nngp, pair.ntk)
