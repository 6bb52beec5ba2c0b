"""The kernel of an infinitely wide network as a kernel of GPyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from gpytorch.constraints import Interval, Positive
from gpytorch.kernels import Kernel
from gpytorch.priors import Prior
from torch import Tensor

from ..covariance.laws import Dropout
from ..graph.program import record
from ..kernels import nngp, ntk, require_gaussian_output
from ..nn.hyperparameters import skeleton
from .batches import over_inputs, over_parameters
from .learnable import Learnable, learnables


class InfiniteWidthKernel(Kernel):
    """The NNGP or NTK of a network of infinite width, with its hyperparameters to learn.

    K(x, x') = E f(x) f(x') (NNGP) or E <df(x)/dw, df(x')/dw> (NTK) over the weights w, of one output. The kernel keeps the
    architecture and none of the network's weights. Its parameters are the network's `w_std`, `b_std` and parameters of
    activations ("rbf_gamma", "erf_a", ...), each of shape (*batch_shape, 1, 1), with the values that the network has; read and
    set them as attributes or by `initialize`. A standard deviation of 0 stays off.

    Args:
        model: a module made of `torchtangents.nn` layers, with Gaussian outputs (it ends in a random layer).
        kernel: "nngp" or "ntk".
        input_shape: the shape of one input, which rows of GPyTorch's (*batch, N, D) are restored to; None leaves them (D,).
        active_dims: the columns to use, as in `gpytorch.kernels.Kernel`.
        batch_shape: one set of hyperparameters for each of a batch.
        tied: True shares one number over all layers that have a hyperparameter of that name, which must start equal; False
            learns one for each layer, named "w_std_0" for layer "0".
        backend: as in `torchtangents.kernels`.
        settings: "w_std_prior", "w_std_constraint" and so on for every hyperparameter; with `tied=False` those of "w_std" hold
            for each layer that has none of its own. Standard deviations and gamma are `Positive` unless told otherwise.

    Raises:
        ValueError: another `kernel`, layers that cannot share one number, rows that do not fit `input_shape`, outputs that are
            not one Gaussian number an input, Dropout in training.
        TypeError: a setting of no hyperparameter, a prior or constraint that is none.
        UnsupportedError: a layer or operation without a rule.
        RuntimeError: `last_dim_is_batch`, which GPyTorch removes.

    Lee et al. 2018 (arXiv 1711.00165); Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572); Gardner et al. 2018 (arXiv
    1809.11165) for GPyTorch.

    Example:
        >>> import torch, torchtangents as tt
        >>> net = torch.nn.Sequential(tt.nn.Linear(3, 64), torch.nn.ReLU(), tt.nn.Linear(64, 1))
        >>> kernel = tt.gp.InfiniteWidthKernel(net).initialize(w_std=1.5)
        >>> kernel(torch.randn(5, 3)).to_dense().shape, [name for name, _ in kernel.named_parameters()]
        (torch.Size([5, 5]), ['raw_w_std', 'raw_b_std'])
    """

    has_lengthscale = False

    def __init__(
        self,
        model: torch.nn.Module,
        kernel: str = "nngp",
        input_shape: tuple[int, ...] | None = None,
        active_dims: tuple[int, ...] | None = None,
        batch_shape: torch.Size = torch.Size([]),
        *,
        tied: bool = True,
        backend: str = "auto",
        **settings: Any,
    ):
        super().__init__(active_dims=active_dims, batch_shape=torch.Size(batch_shape))
        if kernel not in ("nngp", "ntk"):
            raise ValueError(f"kernel: expected 'nngp' or 'ntk', got {kernel!r}")
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        self.kind, self.backend = kernel, backend
        self.input_shape = None if input_shape is None else tuple(input_shape)
        net = skeleton(model)
        self._held = net, learnables(net, tied)  # in a tuple: a module of its own would show weights that there are not
        self._checked: tuple[int, ...] | None = None
        for one in self.learnable:
            self._register(one, settings)
        if settings:
            known = ", ".join(self.names) or "none"
            raise TypeError(f"unknown {', '.join(map(repr, settings))}: the hyperparameters of this network are {known}")

    @property
    def learnable(self) -> list[Learnable]:
        """The hyperparameters, and the layers that each is for."""
        return self._held[1]

    @property
    def names(self) -> list[str]:
        """The names of the hyperparameters."""
        return [one.name for one in self.learnable]

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: Any) -> Tensor:
        """(*batch, N, M) for x1 (*batch, N, D) and x2 (*batch, M, D); with `diag` (*batch, N)."""
        if last_dim_is_batch:
            raise RuntimeError("InfiniteWidthKernel: last_dim_is_batch is not supported; expected inputs (*batch, N, D)")
        values = [getattr(self, name)[..., 0, 0] for name in self.names]  # (*batch_shape,) each
        return over_parameters(self._compute, values, self.batch_shape, x1, x2, diag)

    def _compute(self, values: list[Tensor], x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        """The kernel of one set of hyperparameters."""
        with self._set(values) as net:
            self._check(net, x1)
            options = {"progress": False, "backend": self.backend}
            whole = self.input_shape is not None and len(self.input_shape) > 1

            def between(a: Tensor, b: Tensor | None, diagonal: bool = False) -> Tensor:
                verb = nngp if self.kind == "nngp" else ntk
                return verb(net, self._restored(a), None if b is None else self._restored(b), diagonal=diagonal, **options)

            return over_inputs(between, x1, x2, diag, costly=whole)

    @contextmanager
    def _set(self, values: list[Tensor]) -> Iterator[torch.nn.Module]:
        """The network with these hyperparameters, and its own numbers again afterwards."""
        members = [(h, value, h.value) for one, value in zip(self.learnable, values, strict=True) for h in one.members]
        try:
            for h, value, _ in members:
                h.assign(value)
            yield self._held[0]
        finally:
            for h, _, before in members:
                h.assign(before)

    def _restored(self, x: Tensor) -> Tensor:
        return x if self.input_shape is None else x.reshape(-1, *self.input_shape)

    def _check(self, net: torch.nn.Module, x: Tensor) -> None:
        """Refuse what is no kernel of a Gaussian process, once for each number of columns."""
        columns = x.shape[-1:]
        if self.input_shape is not None and columns[0] != math.prod(self.input_shape):
            raise ValueError(
                f"expected inputs of {math.prod(self.input_shape)} columns to restore to input_shape={self.input_shape}, got "
                f"{columns[0]}; flatten each input, x.flatten(-{len(self.input_shape)})"
            )
        if columns == self._checked:
            return
        with torch.no_grad():
            one = self._restored(x.detach().reshape(-1, *columns)[:1])
            require_gaussian_output(net, one)
            if any(isinstance(step, Dropout) for step in record(net, (one,)).steps):
                raise ValueError(
                    f"{type(net).__name__}: dropout in training adds noise to equal inputs, which is no kernel of inputs alone; "
                    "expected model.eval() before InfiniteWidthKernel, and the noise in the likelihood"
                )
        self._checked = columns

    # Parameters

    def _register(self, one: Learnable, settings: dict[str, Any]) -> None:
        raw, name = f"raw_{one.name}", one.name
        constraint = self._setting(one, "constraint", settings, Interval) or (Positive() if one.positive else None)
        start = torch.full((*self.batch_shape, 1, 1), one.value, dtype=torch.get_default_dtype())
        if constraint is not None:
            if not constraint.check(start):
                raise ValueError(f"{name}: expected a value within {constraint}, got {one.value:g}; change it in the network")
            start = constraint.inverse_transform(start)
        self.register_parameter(raw, torch.nn.Parameter(start))
        if constraint is not None:
            self.register_constraint(raw, constraint)
        prior = self._setting(one, "prior", settings, Prior)
        if prior is not None:
            self.register_prior(f"{name}_prior", prior, partial(_read, name), partial(_write, name))

    def _setting(self, one: Learnable, what: str, settings: dict[str, Any], kind: type) -> Any:
        """The setting of this hyperparameter, or a copy of that of its kind."""
        own, shared = f"{one.name}_{what}", f"{one.kind}_{what}"
        for key in dict.fromkeys((own, shared)):
            if settings.get(key) is not None and not isinstance(settings[key], kind):
                raise TypeError(f"{key}: expected a gpytorch {kind.__name__}, got {type(settings[key]).__name__}")
        value = settings.get(own)
        if value is None:
            value = copy.deepcopy(settings.get(shared))
        last = one is [other for other in self.learnable if other.kind == one.kind][-1]
        settings.pop(own, None)
        if last:
            settings.pop(shared, None)
        return value

    def __getattr__(self, name: str) -> Any:
        if name in _names(self):
            raw = super().__getattr__(f"raw_{name}")
            constraint = self.constraint_for_parameter_name(f"raw_{name}")
            return raw if constraint is None else constraint.transform(raw)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _names(self):
            return super().__setattr__(name, value)
        raw = super().__getattr__(f"raw_{name}")
        constraint = self.constraint_for_parameter_name(f"raw_{name}")
        value = torch.as_tensor(value, dtype=raw.dtype, device=raw.device)
        self.initialize(**{f"raw_{name}": value if constraint is None else constraint.inverse_transform(value)})

    def _apply(self, fn: Any, recurse: bool = True) -> InfiniteWidthKernel:
        for module in self._held[0].modules():  # its constants follow; its weights are nowhere
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, fn(buffer))
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        return f"{self.kind} of {type(self._held[0]).__name__}: {', '.join(self.names)}"


def _names(kernel: InfiniteWidthKernel) -> list[str]:
    held = vars(kernel).get("_held")
    return [] if held is None else [one.name for one in held[1]]


def _read(name: str, kernel: InfiniteWidthKernel) -> Tensor:
    return getattr(kernel, name)


def _write(name: str, kernel: InfiniteWidthKernel, value: Tensor) -> None:
    kernel.initialize(**{name: value})
