"""What the scikit-learn estimators share: the network, the data as tensors, and test points in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor, nn

from ..nn.hyperparameters import skeleton
from .check import require_choice, require_number
from .regularizer import CRITERIA, best_diag_reg

_ENTRIES = 2**24  # of the kernel between one batch and the training points


def default_network() -> nn.Module:
    """Three fully connected layers with ReLU, w_std = sqrt 2 (He et al. 2015, arXiv 1502.01852), b_std = 0.1."""
    from .. import nn as layers

    w_std = math.sqrt(2)
    hidden = [layers.LazyLinear(512, w_std=w_std, device="meta"), layers.ReLU()]
    hidden += [layers.Linear(512, 512, w_std=w_std, device="meta"), layers.ReLU()]
    return nn.Sequential(*hidden, layers.Linear(512, 1, w_std=w_std, device="meta"))


class NetworkEstimator(BaseEstimator):
    """Base of `Regressor` and `Classifier`: sets net_, dtype_ and x_ and computes the kernel between blocks of inputs."""

    net: nn.Module | Callable[[], nn.Module] | None
    diag_reg: float | str
    t: float | None
    learning_rate: float
    input_shape: tuple[int, ...] | None
    dtype: Any
    batch_size: int | None

    def _start(self, X: Any, y: Any, **checks: Any) -> Any:
        """Check the parameters and the data, keep the network and the inputs; returns y."""
        require_number("learning_rate", self.learning_rate, positive=True)
        if self.t is not None:
            require_number("t", self.t)
        if isinstance(self.diag_reg, str):
            require_choice("diag_reg", self.diag_reg, CRITERIA)
        else:
            require_number("diag_reg", self.diag_reg)
        size = self.batch_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1):
            raise ValueError(f"batch_size: expected a number of test points >= 1, or None, got {size!r}.")
        _refuse_images(X)
        X, y = validate_data(self, X, y, dtype=_dtype(self.dtype), **checks)
        self.dtype_ = X.dtype
        self.net_ = skeleton(_built(self.net))
        self.x_ = self._shaped(X)
        return y

    def _inputs(self, X: Any) -> Tensor:
        """Test points (M, *input_shape) as those of `fit`."""
        _refuse_images(X)
        return self._shaped(validate_data(self, X, dtype=self.dtype_, reset=False))

    def _batches(self, x: Tensor) -> Iterator[Tensor]:
        """Test points, so many at a time that the kernel with the training points fits."""
        yield from x.split(self.batch_size or max(1, _ENTRIES // len(self.x_)))

    def _regularizer(self, kernel: Tensor, y: Tensor) -> float:
        """The number that `diag_reg` asks for."""
        return best_diag_reg(kernel, y, self.diag_reg) if isinstance(self.diag_reg, str) else float(self.diag_reg)

    def _shaped(self, X: np.ndarray) -> Tensor:
        x = torch.tensor(X)  # a copy: callers change their arrays, and some arrays cannot be written to
        if self.input_shape is None:
            return x
        shape = tuple(self.input_shape)
        if math.prod(shape) != x.shape[1]:
            raise ValueError(
                f"input_shape: expected a shape of {x.shape[1]} numbers, the features of X, got {shape} of {math.prod(shape)}."
            )
        return x.reshape(len(x), *shape)


def _built(net: Any) -> nn.Module:
    """The network itself, or what the callable builds."""
    if net is None:
        return default_network()
    if not isinstance(net, nn.Module) and callable(net):
        net = net()
    if not isinstance(net, nn.Module):
        kind = type(net).__name__
        raise TypeError(f"net: expected a torch.nn.Module, a callable that builds one, or None, got {kind}.")
    return net


def _dtype(dtype: Any) -> Any:
    """What `validate_data` converts to: the data's own precision where it is float32 or float64, else float64."""
    if dtype is None:
        return [np.float64, np.float32]
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else np.dtype(dtype).name
    require_choice("dtype", name, ("float32", "float64"))
    return np.dtype(name)


def _refuse_images(X: Any) -> None:
    shape = getattr(X, "shape", ())
    if len(shape) > 2:
        raise ValueError(
            f"X: expected a matrix (n_samples, n_features), found array with dim {len(shape)} and shape {tuple(shape)}; pass "
            f"X.reshape(len(X), -1) and input_shape={tuple(shape[1:])}."
        )
