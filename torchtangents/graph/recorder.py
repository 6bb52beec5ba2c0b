"""Runs a model's own forward on symbolic values. Layers are leaves; what comes before the first of them is arithmetic."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..covariance import active
from ..covariance.laws import Input
from ..covariance.layout import CHANNEL, Layout
from ..covariance.masks import fitting
from ..covariance.refusal import locate, placed, refuse
from ..covariance.state import State
from ..nn.layer import Layer
from ..surroundings import on_host
from .functions import DRAWS, DROPS, HANDLERS, TRANSPARENT
from .symbol import Symbol

_PLAIN = {"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "embedding"}
_PLAIN |= {"layer_norm", "group_norm", "rms_norm"}
_LAYERS = f"{__package__.partition('.')[0]}.nn."


class Recorder(TorchFunctionMode):
    """One recording of one model."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model
        self.names = {id(m): name for name, m in model.named_modules()}
        self.parameters = {id(p): name for name, p in model.named_parameters(remove_duplicate=False)}
        self.used: dict[int, str] = {}
        self.leaves: list[str] = []
        self.batch, self.dtype = 0, torch.get_default_dtype()
        self.differentiates = False
        self.mask: Tensor | bool | None = None  # where the data are; True for everywhere

    def where(self) -> str:
        """The dotted name and type of the module that is running."""
        if self.leaves:
            return self.leaves[-1]
        frame = sys._getframe(1)
        while frame is not None:
            module = frame.f_locals.get("self")
            if isinstance(module, torch.nn.Module) and id(module) in self.names:
                return self._label(module)
            frame = frame.f_back
        return type(self.model).__name__

    def _label(self, module: torch.nn.Module) -> str:
        name = self.names.get(id(module), "")
        return f"{name} ({type(module).__name__})" if name else type(module).__name__

    def run(self, args: tuple) -> Any:
        """The model's output on symbolic values."""
        self.differentiates = torch.is_grad_enabled()
        tokens = (active.current.set(self), locate.set(self.where))
        try:
            with self, _eager():
                return self.model(*args)
        finally:
            active.current.reset(tokens[0])
            locate.reset(tokens[1])

    # Layers

    def leaf(self, layer: Layer, args: tuple, kwargs: dict) -> Any:
        """Record the rule of a layer; a deterministic layer on plain tensors just runs."""
        symbolic = any(isinstance(a, Symbol) for a in args) or layer.takes_indices
        if not symbolic and layer.channel_dim is None and not self._masks(layer):
            return layer.forward(*args, **kwargs)
        self.leaves.append(self._label(layer))
        try:
            self._check(layer)
            with on_host():
                return self._ruled(layer, args, kwargs)
        finally:
            self.leaves.pop()

    def _ruled(self, layer: Layer, args: tuple, kwargs: dict) -> Any:
        if layer.takes_indices:
            return self.indices(args[0], layer)
        first = args[0] if isinstance(args[0], Symbol) else self.lift(args[0], layer)
        rest = [a.current() if isinstance(a, Symbol) else a for a in args[1:]]
        out = layer.propagate(first.current(), *rest, **kwargs)
        if getattr(layer, "inplace", False) and isinstance(args[0], Symbol):
            return first.change(out)
        return self._symbols(out, first)

    def _symbols(self, out: Any, like: Symbol) -> Any:
        """What a rule returned: one value, or tuples of them."""
        if isinstance(out, tuple):
            return type(out)(self._symbols(o, like) for o in out)
        if not isinstance(out, State):
            raise TypeError(placed(f"expected propagate to return a State, got {type(out).__name__}"))
        return self.symbol(out, like)

    @staticmethod
    def _masks(layer: Layer) -> bool:
        return isinstance(layer, torch.nn.Dropout) and layer.training and layer.p > 0

    def _check(self, layer: Layer) -> None:
        """Refuse a layer whose rule may not describe what its forward computes."""
        if self.differentiates and not torch.is_grad_enabled():
            refuse("forward runs it under torch.no_grad(), so it is not trained, which has no rule; expected it outside")
        order = type(layer).__mro__
        forward = next(i for i, c in enumerate(order) if "forward" in vars(c))
        rule = next(i for i, c in enumerate(order) if "propagate" in vars(c))
        ours = order[forward].__module__.startswith(_LAYERS)  # families share a rule and differ in torch's forward
        if "forward" in vars(layer) or (forward < rule and not ours):
            refuse(
                f"{type(layer).__name__} overrides forward but inherits the rule of {order[rule].__name__}; "
                "expected propagate to be overridden with it"
            )
        lazy = getattr(layer, "_initialize_hook", None)  # torch's own, which fixes the width of a lazy layer
        before = [i for i in layer._forward_pre_hooks if lazy is None or i != lazy.id]
        if layer._forward_hooks or before or torch.nn.utils.parametrize.is_parametrized(layer):
            refuse("hooks or parametrizations change what this layer computes; remove them before asking for a kernel")
        for name, parameter in layer.named_parameters():
            if id(parameter) in self.used:
                other = self.used[id(parameter)]
                by = "in an earlier call of the same layer" if other == self.leaves[-1] else f"by '{other}'"
                refuse(
                    f"its {name} was already used {by}: shared weights have no rule. "
                    "Expected every layer with weights once; make a second layer"
                )
            self.used[id(parameter)] = self.leaves[-1]

    def indices(self, x: Any, layer: Any) -> Symbol:
        """What a layer makes of integers."""
        if isinstance(x, Symbol) or not isinstance(x, Tensor) or x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            kind = "values of another layer" if isinstance(x, Symbol) else getattr(x, "dtype", type(x).__name__)
            raise TypeError(placed(f"expected tokens as a tensor of integers, got {kind}"))
        self._batched(x)
        mask = fitting(self.mask, self.batch, tuple(x.shape[1:]), x.device)
        return Symbol.make(replace(layer.propagate(x), mask=mask), self.batch, layer.weight.dtype, x.device)

    def _batched(self, x: Tensor) -> None:
        if x.ndim < 1 or x.shape[0] != self.batch:
            raise ValueError(placed(f"expected the batch axis first with {self.batch} inputs, got shape {tuple(x.shape)}"))

    def lift(self, x: Any, layer: Layer) -> Symbol:
        """Data on their way into the first random layer."""
        if not isinstance(x, Tensor):
            raise TypeError(placed(f"expected a tensor, got {type(x).__name__}"))
        if not x.is_floating_point():
            raise TypeError(
                placed(
                    f"expected numbers in float32 or float64, got {x.dtype}; convert it, e.g. x.float() / 255 for images, or "
                    "begin with tt.nn.Embedding for tokens"
                )
            )
        dim = layer.channel_dim
        if dim is None:
            if x.ndim != 2:
                refuse("dropout on the data needs to know which axis holds channels; expected a Linear or Conv layer before it")
            dim = -1
        if x.ndim < 2:
            raise ValueError(placed(f"expected a batch of inputs (N, ..), got shape {tuple(x.shape)}"))
        channel = dim % x.ndim
        spatial = iter(range(x.ndim - 2))
        layout = tuple((CHANNEL,) if i == channel else (next(spatial),) for i in range(1, x.ndim))
        return self.data(x, layout)

    def data(self, x: Tensor, layout: Layout) -> Symbol:
        """A tensor as a value with the given layout (one tag an axis)."""
        values = self.ordered(x, layout)
        mask = fitting(self.mask, self.batch, tuple(values.shape[2:]), x.device)
        state = replace(State.of(Input(values), values.shape[1], layout), mask=mask)
        return Symbol.make(state, x.shape[0], x.dtype, x.device)

    def ordered(self, x: Tensor, layout: Layout) -> Tensor:
        """A tensor of the given layout (at most one tag an axis) as (N, C, *S)."""
        self._batched(x)
        held = sorted((group[0], 1 + i) for i, group in enumerate(layout) if group)  # CHANNEL is -1: first
        empty = [1 + i for i, group in enumerate(layout) if not group]
        with torch._C.DisableTorchFunctionSubclass():
            return x.permute(0, *(i for _, i in held), *empty)[(..., *(0 for _ in empty))]

    def symbol(self, state: State, like: Symbol, view: bool = False) -> Symbol:
        """A new value; a view shares the storage of `like`."""
        if like.state.mask is not None and state.mask is None and state.size:
            refuse("this operation has no rule for masks: it returns positions and not which of them hold data")
        return Symbol.make(state, like.shape[0], like.dtype, like.device, like.storage if view else None)

    # Functions

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if self.leaves or func in TRANSPARENT:  # inside a rule, hyperparameters are ordinary tensors
            return func(*args, **kwargs)
        flat = [*args, *kwargs.values()]
        flat += [x for a in flat if isinstance(a, (list, tuple)) for x in a]
        for a in flat:
            if isinstance(a, torch.nn.Parameter):
                self._parameter(a, func)
        if not any(isinstance(a, Symbol) for a in flat):
            if func in DRAWS or (func in DROPS and _drops(*args, **kwargs)):
                refuse(f"{_name(func)} gives one random draw, not its law. Expected tt.nn.Dropout, evaluation mode, or no noise")
            return func(*args, **kwargs)
        handler = HANDLERS.get(func)
        if handler is None:
            refuse(f"{_name(func)} has no infinite-width rule. {_suggestion(_name(func))}")
        try:
            with on_host():
                return handler(self, *args, **kwargs)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            return refuse(f"{_name(func)} with these arguments has no rule ({error})")

    def _parameter(self, parameter: torch.nn.Parameter, func: Any) -> None:
        name = self.parameters.get(id(parameter), "an unregistered parameter")
        if instead := _instead(_name(func)):
            refuse(f"{_name(func)} with the parameter '{name}' has no infinite-width rule. {instead}")
        if _name(func) in _PLAIN:
            refuse(
                f"a plain torch.nn layer ({_name(func)} with '{name}') has no law for its weights. Expected the layer of the "
                "same name in torchtangents.nn, which takes the same arguments and w_std, b_std, or tt.from_torch(model)"
            )
        refuse(
            f"forward uses the parameter '{name}' directly (in {_name(func)}), which has no law at infinite width. "
            "Expected layers of torchtangents.nn only, or a tensor without gradient (a buffer)"
        )


def _name(func: Any) -> str:
    name = getattr(func, "__name__", str(func))
    return getattr(getattr(func, "__self__", None), "__name__", name) if name == "__get__" else name


def _drops(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> bool:
    """Whether dropout with these arguments does anything."""
    return training and p > 0


def _instead(name: str) -> str | None:
    """What to use for the sequence models of torch, whose own parametrisation has no limit with a rule."""
    if "attention" in name or name == "_transformer_encoder_layer_fwd":
        return (
            "Expected tt.nn.SelfAttention, or tt.nn.TransformerEncoderLayer: scores over d (not sqrt(d)) with one weight for "
            "queries and keys"
        )
    if name.startswith(("rnn_", "lstm", "gru")):
        return "Expected tt.nn.RNN (gated units have no rule)"
    return None


def _suggestion(name: str) -> str:
    if instead := _instead(name):
        return instead + "."
    if name in ("matmul", "__matmul__", "__rmatmul__", "bmm", "baddbmm", "einsum"):
        return "For attention (q @ k^T) expected tt.nn.SelfAttention; products of two recorded values have no rule."
    if "max_pool" in name:
        return "Expected an average pool (tt.nn.AvgPool2d) in its place."
    if "softmax" in name or "softmin" in name:
        return "Expected an elementwise function in its place (tt.nn.Elementwise); for attention, tt.nn.SelfAttention."
    if name in ("max", "amax", "min", "amin", "cummax", "cummin", "median", "sort", "topk"):
        return "Expected a mean in its place: what depends on the order of values has no rule."
    if name in ("gt", "ge", "lt", "le", "__gt__", "__ge__", "__lt__", "__le__", "where"):
        return "Expected tt.nn.Elementwise(function) for a function with conditions, or torch's activations."
    if "norm" in name:
        return "Expected tt.nn.LayerNorm, or no normalisation."
    return "Expected operations with a rule (README.md, torchtangents.nn), or a tt.Layer with its own forward and propagate."


def _eager() -> AbstractContextManager:
    """Compiled modules run their own forward; where the compiler is not even imported there are none."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
