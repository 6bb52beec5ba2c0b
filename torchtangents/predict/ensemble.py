"""Ensembles of infinitely wide networks at any time of their training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .check import require_choice, require_number, require_scalar, require_targets
from .gram import Diagonal, Gram
from .inputs import Inputs, batches, count, pack_inputs, require_inputs, unpack_inputs, unwrapped
from .law import Law
from .loss import ensemble_loss
from .network import NetworkKernels, Pair
from .persistence import Persistent, pack, require_entry, unpack
from .prediction import Loss, Prediction

KERNELS = ("ntk", "nngp", "ntkgp")


class Ensemble(Persistent):
    """The Gaussian law of infinitely wide networks, drawn at random, at any time of their training by gradient flow.

    With s = learning_rate t / y.size, K the NNGP, T the NTK, * the test points, and Q the kernel that drives the
    training plus diag_reg times the mean of its diagonal, and noise:

    - "ntk", all layers trained: mean B y, covariance K** + B K B' - (B K*' + K* B'), B = T* Q^-1 (I - e^{-Qs});
    - "nngp", only the last layer trained (at infinity the Bayesian posterior): mean K* Q^-1 (I - e^{-Qs}) y,
      covariance K** - K* Q^-1 (I - e^{-2Qs}) K*';
    - "ntkgp", randomised priors added so that the limit is the posterior of T: as "nngp", with T for K.

    Args:
        net: a network of `torchtangents.nn` layers; one kernel entry for each pair of inputs, Gaussian outputs.
        x_train: inputs (N, ...), or a tuple of forward's arguments.
        y_train: (N, *O) targets, of the kernels' dtype.
        kernel: "ntk", "nngp" or "ntkgp".
        learning_rate: step size of gradient descent on 1/2 mean((f - y)^2); t counts steps.
        diag_reg, diag_reg_absolute_scale, noise, jitter: what is added to the diagonal of Q, as in `GradientFlow`.
        method: "flow", continuous time, or "descent": (I - learning_rate Q / y.size)^t stands for e^{-Qs}.
        tile, progress, backend, devices: as in `torchtangents.kernels`.

    Raises:
        UnsupportedError: the network leaves positions at its output, or has outputs that are not Gaussian.
        TypeError, ValueError: an unknown kernel, sizes, dtypes or devices that do not fit, NaN.

    Lee et al. 2019 (arXiv 1902.06720); He, Lakshminarayanan and Teh 2020 (arXiv 2007.05864) for "ntkgp".

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 512), tt.nn.ReLU(), tt.nn.Linear(512, 1))
        >>> x, y = torch.eye(3), torch.tensor([1., -1., 0.])
        >>> ensemble = tt.predict.Ensemble(net, x, y)
        >>> mean, covariance = ensemble.at(t=100., x_test=torch.ones(5, 3))
        >>> mean.shape, covariance.shape
        (torch.Size([5]), torch.Size([5, 5]))
        >>> ensemble.at(t=None).mean
        tensor([ 1., -1.,  0.])
    """

    _shown = ("kernel", "method", "learning_rate")

    def __init__(
        self,
        net: nn.Module,
        x_train: Inputs,
        y_train: Tensor,
        *,
        kernel: str = "ntk",
        learning_rate: float = 1.0,
        diag_reg: float | Tensor = 0.0,
        diag_reg_absolute_scale: bool = False,
        noise: Tensor | None = None,
        jitter: bool = False,
        method: str = "flow",
        tile: int | None = None,
        progress: bool | None = None,
        backend: str = "auto",
        devices: object = None,
    ):
        require_choice("kernel", kernel, KERNELS)
        require_choice("method", method, ("flow", "descent"))
        learning_rate = require_number("learning_rate", learning_rate, positive=True)
        diagonal = Diagonal(require_scalar("diag_reg", diag_reg), diag_reg_absolute_scale, noise, jitter)
        options = {"tile": tile, "progress": progress, "backend": backend, "devices": devices}
        self._prepare(NetworkKernels(net, x_train, options), y_train, kernel, learning_rate, method, diagonal)

    def _prepare(
        self, kernels: NetworkKernels, y: Tensor, kernel: str, learning_rate: float, method: str, diagonal: Diagonal
    ) -> None:
        self.kernels, self.kernel, self.method, self.learning_rate = kernels, kernel, method, learning_rate
        driving = kernels.train.nngp if kernel == "nngp" else kernels.train.ntk
        self.y_train = require_targets(y, driving, k_name="the kernel").clone()
        self.gram = Gram(driving, diagonal)
        y = self.y_train.double().reshape(self.gram.size, -1)  # (N, O)
        self._law = Law(kernels, self.gram, y, kernel, learning_rate, method)

    def at(
        self,
        t: float | Tensor | None = None,
        x_test: Inputs | None = None,
        covariance: str | None = "full",
        *,
        batch_size: int | None = None,
    ) -> Prediction:
        """Mean and covariance of the outputs at training time `t`.

        Kernels of the test points are kept: asking again for the same tensors at another time costs no kernel.

        Args:
            t: training time in steps, a number or a tensor whose shape T leads the results; None is infinity.
            x_test: test inputs (M, ...); None is the training points, where the regulariser is part of the kernel and
                infinite time returns y_train without variance. Pass x_train for the regularised prediction there.
            covariance: "full" (*T, M, M), "diagonal" (*T, M), or None for none.
            batch_size: test points taken at a time; memory for kernels is then (batch_size, N), never (M, N) or (M, M).

        Raises:
            SingularKernelError: infinite time and a singular kernel, or any time and an indefinite one; names a `diag_reg`
                that works.
            ArithmeticError: method="descent" diverges at that learning rate.
            TypeError, ValueError: a negative or infinite time, an unknown `covariance`, "full" in batches.
        """
        require_choice("covariance", covariance, ("full", "diagonal", None))
        clock = self._law.clock(t)
        if batch_size is not None:
            parts = list(self.stream(self._cut(x_test, covariance, batch_size), t, covariance))
            axis = len(clock.shape)
            variance = [part.covariance for part in parts if part.covariance is not None]
            return Prediction(torch.cat([part.mean for part in parts], axis), torch.cat(variance, axis) if variance else None)
        mean = self._law.mean(clock, x_test)  # (T, M, O)
        mean = mean.reshape(*clock.shape, mean.shape[1], *self.y_train.shape[1:]).to(self.gram.dtype)
        if covariance is None:
            return Prediction(mean, None)
        at_time = self._law.covariance(x_test, covariance)
        stacked = torch.stack([at_time(each) for each in clock.each()])  # (T, M, M) or (T, M)
        return Prediction(mean, stacked.reshape(*clock.shape, *stacked.shape[1:]).to(self.gram.dtype))

    def stream(
        self, batches: Iterable[Any], t: float | Tensor | None = None, covariance: str | None = "diagonal"
    ) -> Iterator[Prediction]:
        """`at` for each batch of test inputs as it comes, from any iterable or a DataLoader.

        Args:
            batches: test inputs each, as x_test in `at`; a list of one, as a TensorDataset's loader makes, is its item.
            t, covariance: as in `at`; a covariance couples the points of one batch alone.
        """
        for item in batches:
            yield self.at(t, require_inputs("batches", unwrapped(item)), covariance)

    def loss(self, t: float | Tensor | None = None, x: Inputs | None = None, y: Tensor | None = None) -> Loss:
        """Mean and standard deviation, over the ensemble, of the loss 1/2 mean((f - y)^2) at training time `t`.

        Args:
            t: as in `at`; its shape is that of both results.
            x, y: test inputs and targets (M, *O); None is the training points.

        Raises:
            ValueError: one of `x` and `y` without the other, sizes that do not fit; as `at` otherwise.
        """
        if (x is None) != (y is None):
            raise ValueError("loss: expected both x and y, or neither for the training loss, got one of them.")
        clock, target = self._law.clock(t), self._law.y
        if x is not None and y is not None:
            cross = self.kernels.cross(require_inputs("x", x)).nngp
            y = require_targets(y, cross, "y", "the kernel")
            if y.shape[1:] != self.y_train.shape[1:]:
                raise ValueError(f"y: expected outputs as y_train {tuple(self.y_train.shape)}, got {tuple(y.shape)}.")
            target = y.double().reshape(count(x), -1)  # (M, O)
        mean, at_time = self._law.mean(clock, x), self._law.covariance(x, "full")
        losses = [ensemble_loss(m, at_time(each), target) for m, each in zip(mean, clock.each(), strict=True)]
        parts = (torch.stack(part).reshape(clock.shape).to(self.gram.dtype) for part in zip(*losses, strict=True))
        return Loss(*parts)

    @property
    def jitter_added(self) -> float:
        """What the kernel's diagonal got so far beyond what was asked for, in units of the kernel."""
        return self.gram.jitter

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the network: training data, kernels and the factors computed so far, as a flat dictionary."""
        options = {name: getattr(self, name) for name in ("kernel", "learning_rate", "method")}
        tensors = {"y_train": self.y_train, **self.kernels.train._asdict(), **pack_inputs("x_train", self.kernels.x_train)}
        return pack("Ensemble", options | self.gram.options(), tensors | self.gram.tensors())

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor], net: nn.Module, **options: Any) -> Ensemble:
        """The ensemble that was saved, of the same `net`; `options` are tile, progress, backend and devices.

        Raises:
            ValueError: the state of another class or version, tensors that do not fit, the kernels of another network.
        """
        saved, tensors = unpack("Ensemble", state)
        n = len(require_entry(tensors, "y_train"))
        pair = Pair(*(require_entry(tensors, name, (n, n)) for name in Pair._fields))
        unknown = options.keys() - {"tile", "progress", "backend", "devices"}
        if unknown:
            raise TypeError(f"from_state_dict: expected tile, progress, backend or devices, got {sorted(unknown)}.")
        kernels = NetworkKernels(net, unpack_inputs("x_train", tensors), options, pair)
        ensemble = cls.__new__(cls)
        diagonal = Diagonal.restored(saved, tensors)
        ensemble._prepare(kernels, tensors["y_train"], saved["kernel"], saved["learning_rate"], saved["method"], diagonal)
        ensemble.gram.adopt(tensors, saved["jitter_added"])
        return ensemble

    def _needs(self) -> dict[str, Any]:
        return {"net": self.kernels.net, **self.kernels.options}

    def _cut(self, x: Inputs | None, covariance: str | None, size: object) -> Iterator[Inputs]:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"batch_size: expected a number of test points >= 1, got {size!r}.")
        if x is None:
            raise ValueError("batch_size: expected x_test; the training points' kernels are held whole, leave batch_size out.")
        if covariance == "full":
            raise ValueError('batch_size: the full covariance couples all test points; ask for covariance="diagonal" or None.')
        return batches(require_inputs("x_test", x), size)
