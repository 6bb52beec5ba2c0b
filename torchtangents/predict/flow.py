"""Gradient descent in function space, by the train-train kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .check import (
    require_number,
    require_shape,
    require_targets,
    require_tensor,
    require_times,
)
from .evolve import gain, growth
from .gram import Gram
from .posterior import require_test_train
from .prediction import Flow


class GradientFlow:
    """The outputs of one network while gradient flow trains it on the loss 1/2 mean((f - y)^2), in closed form.

    train: f(t) = f_0 - (I - e^{-Ks}) (f_0 - y),   test: f*(t) = f*_0 - K* K^-1 (I - e^{-Ks}) (f_0 - y),
    with s = learning_rate t / y.size and K = k_train_train + diag_reg tr(k_train_train)/N I.

    Args:
        k_train_train: (N, N) tangent kernel of the training points, analytic, empirical or any other.
        y_train: (N,) or (N, O) targets.
        loss: "mse".
        learning_rate: step size; `learning_rate * t` is the time of gradient flow.
        momentum: 0.
        diag_reg: regulariser relative to the mean of the kernel's diagonal.

    Raises:
        NotImplementedError: another loss, or momentum.
        TypeError, ValueError: sizes, dtypes or devices that do not fit, NaN, a matrix that is not symmetric.

    Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572); Lee et al. 2019 (arXiv 1902.06720).

    Example:
        >>> import torch, torchtangents as tt
        >>> k = torch.tensor([[2., 1.], [1., 2.]])
        >>> flow = tt.predict.GradientFlow(k, torch.tensor([1., -1.]))
        >>> train, test = flow.at(t=2., k_test_train=torch.tensor([[1., 0.]]))
        >>> train, test
        (tensor([ 0.6321, -0.6321]), tensor([0.6321]))
    """

    def __init__(
        self,
        k_train_train: Tensor,
        y_train: Tensor,
        *,
        loss: Any = "mse",
        learning_rate: float = 1.0,
        momentum: float = 0.0,
        diag_reg: float = 0.0,
    ):
        if loss != "mse":
            raise NotImplementedError(f'loss: expected "mse", got {loss!r}; only loss="mse" has a closed form.')
        if require_number("momentum", momentum):
            raise NotImplementedError(f"momentum: expected 0, got {momentum!r}; only momentum=0 has a closed form.")
        self.learning_rate = require_number("learning_rate", learning_rate, positive=True)
        self.gram = Gram(k_train_train, require_number("diag_reg", diag_reg))
        self.y_train = require_targets(y_train, k_train_train).clone()
        self._y = self.y_train.double().reshape(self.gram.size, -1)  # (N, O)

    def at(
        self,
        t: float | Tensor | None = None,
        fx_train_0: float | Tensor | None = 0.0,
        fx_test_0: float | Tensor | None = None,
        k_test_train: Tensor | None = None,
    ) -> Flow:
        """Outputs at time `t` as (train, test): (*T, N), (*T, M), each with O where y_train has it.

        Args:
            t: training time in steps, a number or a tensor whose shape T leads the results; None is infinity, where the
                training outputs are y_train.
            fx_train_0: outputs at t = 0 on the training points, a number or as y_train; None starts at zero and leaves
                `train` None.
            fx_test_0: outputs at t = 0 on the test points, a number, (M,) or (M, O); None is zero.
            k_test_train: (M, N) tangent kernel; None leaves `test` None.

        Raises:
            SingularKernelError: infinite time and a singular kernel; names a `diag_reg` that works.
            TypeError, ValueError: a negative or infinite time, sizes that do not fit, fx_test_0 without k_test_train.
        """
        times = require_times(t, self._y.device)
        start = self._start("fx_train_0", fx_train_0, self.gram.size)  # (N, O)
        error = self._y - start  # (N, O)
        s = None if times is None else times.reshape(-1) * (self.learning_rate / self._y.numel())  # (T,)
        train = test = None
        if k_test_train is not None:
            cross = require_test_train(k_test_train, self.y_train).double()  # (M, N)
            weights = self.gram.solve(error)[None] if s is None else gain(self.gram, s, error)  # (T, N, O)
            test = self._shaped(self._start("fx_test_0", fx_test_0, len(cross)) + cross @ weights, times)
        elif fx_test_0 is not None:
            raise ValueError("fx_test_0 was given without k_test_train; pass k_test_train = ntk(x_test, x_train).")
        elif fx_train_0 is None:
            raise ValueError("nothing to compute: fx_train_0 is None and k_test_train too; pass one of them.")
        if fx_train_0 is not None and s is None:
            self.gram.cholesky  # noqa: B018  a singular kernel does not reach y_train
            train = self.y_train.clone()
        elif fx_train_0 is not None and s is not None:
            train = self._shaped(start + growth(self.gram, s, error), times)
        return Flow(train, test)

    def _start(self, name: str, value: float | Tensor | None, rows: int) -> Tensor:
        if value is None or (not isinstance(value, Tensor)):
            number = 0.0 if value is None else float(value)
            return torch.full((rows, self._y.shape[1]), number, dtype=torch.float64, device=self._y.device)
        value = require_tensor(name, value, "y_train", self.y_train)
        if value.ndim == 0:
            return value.double().expand(rows, self._y.shape[1])
        require_shape(name, value, (rows, *self.y_train.shape[1:]), remedy="a number, or one output for each target")
        return value.double().reshape(rows, -1)

    def _shaped(self, outputs: Tensor, times: Tensor | None) -> Tensor:
        lead = () if times is None else tuple(times.shape)
        trail = self.y_train.shape[1:]
        return outputs.reshape(*lead, outputs.shape[-2], *trail).to(self.gram.dtype)
