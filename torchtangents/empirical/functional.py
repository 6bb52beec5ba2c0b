"""A model as a function of its trained parameters, its inputs by rows, and the checks of both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from ..inputs import check_dense, check_finite
from .derivatives import ForwardDerivatives
from .hazards import check_precision

Inputs = Any  # a tensor (N, ..), a tuple of positional arguments, or a mapping of keyword arguments
Selection = Iterable[str] | Callable[[str, Tensor], bool] | None
Parameters = dict[str, Tensor]


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by plain operations: torch's fused kernels have no forward derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def call(model: nn.Module, state: Parameters, args: tuple, kwargs: dict[str, Any], order: int = 1) -> Any:
    """model(*args, **kwargs) with the parameters and buffers of `state`, to be differentiated forward `order` times."""
    with plain_attention(), ForwardDerivatives(order) if order else nullcontext():
        return functional_call(model, state, args, kwargs)


@dataclass(frozen=True)
class Data:
    """Arguments of forward, every tensor of them with the samples on axis 0."""

    args: tuple
    kwargs: dict[str, Any]
    size: int

    def rows(self, rows: slice) -> Data:
        """Some of the samples."""
        args, kwargs = pytree.tree_map_only(Tensor, lambda t: t[rows], (self.args, self.kwargs))
        return Data(args, kwargs, len(range(self.size)[rows]))


def data(x: Inputs, name: str = "x") -> Data:
    """Checked inputs.

    Raises:
        TypeError: no tensor among them.
        ValueError: tensors without samples, with different numbers of samples, or not finite.
    """
    args, kwargs = ((), dict(x)) if isinstance(x, Mapping) else (tuple(x) if isinstance(x, (tuple, list)) else (x,), {})
    tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    if not tensors:
        raise TypeError(
            f"expected {name} as a tensor (N, ..), a tuple of forward's arguments or a mapping of its keyword arguments, "
            f"got {type(x).__name__} without a tensor"
        )
    for t in tensors:
        check_dense(t, name)
    sizes = [len(t) if t.ndim else 0 for t in tensors]
    if sizes[0] == 0 or len(set(sizes)) > 1:
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise ValueError(
            f"expected every tensor of {name} with the same number N >= 1 of samples on axis 0, got shapes {shapes}; "
            "a constant that all samples share belongs in the model (a buffer)"
        )
    check_finite(tuple(tensors), name)
    return Data(args, kwargs, sizes[0])


def trained(model: nn.Module, selection: Selection = None) -> Parameters:
    """The parameters that require a gradient, detached; `selection` names some of them, or tells by name and value.

    Raises:
        ValueError: there are none, a name that is not one of them, or a parameter without a shape yet.
        TypeError: a parameter that is not real.
    """
    name = type(model).__name__
    for key, p in model.named_parameters():
        if isinstance(p, nn.UninitializedParameter):
            raise ValueError(f"{key}: expected a parameter with a shape, got an uninitialized one; run {name}'s forward once")
    found = {k: p for k, p in model.named_parameters() if p.requires_grad}
    if callable(selection):
        found = {k: p for k, p in found.items() if selection(k, p)}
    elif selection is not None:
        wanted = [selection] if isinstance(selection, str) else list(selection)
        unknown = [k for k in wanted if k not in found]
        if unknown:
            known = ", ".join(found) or "none"
            raise ValueError(f"parameters: {unknown[0]!r} is no trainable parameter of {name}; expected some of: {known}")
        found = {k: p for k, p in found.items() if k in wanted}
    if not found:
        raise ValueError(
            f"{name}: expected at least one trainable parameter, got none; call requires_grad_(True), or select others"
        )
    for key, p in found.items():
        if not p.is_floating_point():
            raise TypeError(f"{key}: expected a real floating point parameter, got {p.dtype}")
    return {k: p.detach() for k, p in found.items()}


def require_deterministic(model: nn.Module) -> None:
    """Refuse layers whose output for one input depends on the other inputs."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (layer.training or layer.running_mean is None):
            at = f"{name or type(model).__name__} ({type(layer).__name__})"
            why, remedy = ("is in training mode", "call model.eval()")
            if not layer.training:
                why, remedy = ("has no running statistics", "construct it with track_running_stats=True")
            raise ValueError(
                f"{at} {why}: its output for one input depends on the others, and a tangent kernel of pairs of inputs has "
                f"no meaning; {remedy}, or use a GroupNorm"
            )


def require_float(outputs: Any, name: str) -> None:
    """Refuse outputs that are not tensors of real floating point numbers, by their place."""
    for path, leaf in pytree.tree_leaves_with_path(outputs):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            continue
        got = str(leaf.dtype) if isinstance(leaf, Tensor) else type(leaf).__name__
        raise TypeError(
            f"{name}: expected outputs of real floating point numbers, got {got} at output{pytree.keystr(path)}; wrap the model "
            "in a module that returns the outputs that are to be differentiated"
        )


class _Watched(nn.Module):
    """A model, and the state that its forward left behind."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.left: Parameters = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        outputs = self.model(*args, **kwargs)
        self.left = {k: t.detach() for k, t in (*self.model.named_parameters(), *self.model.named_buffers())}
        return outputs


def probe(model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The outputs, of a forward that was seen to draw no random numbers and to leave the model's state alone.

    Raises:
        ValueError: BatchNorm in training mode, random numbers, a parameter or buffer that changes.
        TypeError: outputs that are not real floating point numbers.
    """
    require_deterministic(model)
    name = type(model).__name__
    state = {k: p.detach() for k, p in model.named_parameters()} | {k: b.detach().clone() for k, b in model.named_buffers()}
    before = {k: (t.data_ptr(), t._version) for k, t in state.items()}
    watched = _Watched(model)
    cuda = sorted({t.device.index for t in state.values() if t.is_cuda})
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        seeds = [torch.get_rng_state(), *(torch.cuda.get_rng_state(i) for i in cuda)]
        outputs = call(watched, {f"model.{k}": t for k, t in state.items()}, args, kwargs, 0)
        now = [torch.get_rng_state(), *(torch.cuda.get_rng_state(i) for i in cuda)]
    for key, tensor in watched.left.items():
        if key not in before or before[key] != (tensor.data_ptr(), tensor._version):
            raise ValueError(
                f"{key}: expected a forward that leaves parameters and buffers as they are, but {name}'s changes this one; "
                "call model.eval(), or keep the state outside the module"
            )
    if not all(torch.equal(a, b) for a, b in zip(seeds, now, strict=True)):
        dropout = (k for k, m in model.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training and m.p)
        at = next(dropout, "") or name
        raise ValueError(
            f"{at}: expected a forward without random numbers, got one that draws them (dropout?); call model.eval() first"
        )
    require_float(outputs, name)
    return outputs


class Function:
    """f(parameters, data): a model with its other state held fixed, checked on the first samples of some data.

    Args:
        model: any module.
        selection: which trainable parameters are variables; None for all, names, or a predicate of name and value.
        x: inputs on which the checks run.

    Raises:
        ValueError, TypeError: as `trained`, `data` and `probe`; outputs of one sample that depend on another sample;
            parameters of several dtypes, or in half precision.
    """

    def __init__(self, model: nn.Module, x: Inputs, selection: Selection = None, name: str = "x"):
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        self.model = model
        self.name = type(model).__name__
        self.trained = trained(model, selection)
        state = (*model.named_parameters(), *model.named_buffers())
        self.fixed = {k: t.detach() for k, t in state if k not in self.trained}
        dtypes = {p.dtype for p in self.trained.values()}
        if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
            raise TypeError(
                f"{self.name}: expected trainable parameters of one dtype, float32 or float64, got "
                f"{', '.join(sorted(map(str, dtypes)))}; use model.float()"
            )
        self.dtype = dtypes.pop()
        self.device = next(iter(self.trained.values())).device
        self.data = data(x, name)
        self.outputs = self._probe(self.data)  # of one sample

    def __call__(self, parameters: Parameters, some: Data, order: int = 1) -> Any:
        check_precision(self.device)  # at every call: what was made outside of autocast may be used within
        return call(self.model, {**self.fixed, **parameters}, some.args, some.kwargs, order)

    def also(self, x: Inputs, name: str = "x2") -> Data:
        """Further inputs, whose outputs must be of the same kind."""
        more = data(x, name)
        outputs = self._probe(more)
        kinds = [pytree.tree_map(lambda t: (tuple(t.shape[1:]), t.dtype), each) for each in (self.outputs, outputs)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"expected outputs of one shape for x1 and {name}, got {kinds[0]} and {kinds[1]}")
        return more

    def over(self, some: Data) -> Function:
        """The same function on other data, which `also` checked."""
        other = copy.copy(self)
        other.data = some
        return other

    def frozen(self) -> Function:
        """The same function, whatever becomes of the model: training it, or changing its mode."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        other.trained = {k: p.clone() for k, p in self.trained.items()}
        other.fixed = {k: t.clone() for k, t in self.fixed.items()}
        return other

    def output(self) -> Tensor:
        """The output of one sample, (1, ..), where the model has one output only."""
        leaves = pytree.tree_leaves(self.outputs)
        if len(leaves) != 1:
            names = ", ".join(f"output{pytree.keystr(path)}" for path, _ in pytree.tree_leaves_with_path(self.outputs))
            raise ValueError(
                f"{self.name}: expected one output, got {names}; wrap the model in a module that returns one of them"
            )
        return leaves[0]

    def _probe(self, some: Data) -> Any:
        """The outputs of the first sample; it and the last one, alone and beside each other, must give the same."""
        n, parts = some.size, []
        for rows in (slice(0, 1), slice(n - 1, n), slice(0, n, max(1, n - 1))):
            each = some.rows(rows)
            parts.append(probe(self.model, each.args, each.kwargs))
        leaves = [pytree.tree_leaves(outputs) for outputs in parts]
        for (path, a), b, both in zip(pytree.tree_leaves_with_path(parts[0]), *leaves[1:], strict=True):
            place = f"output{pytree.keystr(path)}"
            if a.ndim == 0 or len(a) != 1 or len(both) != min(n, 2) or a.shape[1:] != both.shape[1:]:
                raise ValueError(
                    f"{self.name}: expected the samples on axis 0 of {place}, got shapes {tuple(a.shape)} and "
                    f"{tuple(both.shape)} for 1 and {min(n, 2)} samples"
                )
            if both.dtype != self.dtype:
                raise TypeError(
                    f"{self.name}: expected {place} in {self.dtype}, as the parameters, got {both.dtype}; convert the model and "
                    "its inputs, and differentiate without autocast"
                )
            if not torch.isfinite(both).all():
                raise OverflowError(f"{self.name}: expected finite outputs, got {place} with NaN or infinity; check its weights")
            if not both.numel():
                raise ValueError(f"{self.name}: expected at least one number in {place}, got shape {tuple(both.shape)}")
            gap = max((a[0] - both[0]).abs().max().item(), (b[0] - both[-1]).abs().max().item())
            if not gap <= torch.finfo(both.dtype).eps ** 0.5 * 10 * both.abs().max().item():
                raise ValueError(
                    f"{self.name}: expected {place} of a sample to depend on that sample only, but it changes by {gap:.3g} "
                    "when another is beside it; keep the samples on axis 0 (batch_first=True)"
                )
        return parts[0]
