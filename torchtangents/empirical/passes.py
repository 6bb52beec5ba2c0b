"""Forward and backward passes, a sample at a time: batched by `torch.func.vmap`, or a loop where that cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .hazards import watched_forward
from .outputs import check_leaf, leaves_of
from .recorder import CHECKPOINTED, Recorder, Site
from .rules import Rule
from .samples import Samples


@dataclass
class Block:
    """What one pass over some samples leaves behind."""

    features: list[Tensor]  # (n, *shape in one sample)
    cotangents: list[Tensor]  # (n, R, *shape of the site), R outputs
    count: int
    dtype: torch.dtype
    device: torch.device

    def sample(self, i: int) -> Block:
        """One sample's."""
        one = slice(i, i + 1)
        features, cotangents = [f[one] for f in self.features], [g[one] for g in self.cotangents]
        return Block(features, cotangents, 1, self.dtype, self.device)


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module, trainable: Mapping[str, Tensor]) -> Iterator[None]:
    """Only some parameters require a gradient; attention runs as plain products, which have batching rules."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    chosen = {id(p) for p in trainable.values()}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        for p, _ in flags:
            p.requires_grad_(id(p) in chosen)
        torch.backends.mha.set_fastpath_enabled(False)
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for p, flag in flags:
            p.requires_grad_(flag)


class Network:
    """One output of a module, with where its parameters enter."""

    def __init__(
        self,
        model: torch.nn.Module,
        parameters: Mapping[str, Tensor],
        rules: Mapping[Callable, Rule],
        samples: Samples,
        leaf: int,
    ):
        self.model, self.parameters, self.rules, self.leaf = model, parameters, rules, leaf
        self.looped = False
        self.sites, self.shape, self.dtype = self._recorded(samples)
        self._choose(samples)

    def _forward(self, samples: Samples, tensors: tuple[Tensor, ...], probes: list[Tensor] | None) -> tuple[Tensor, Recorder]:
        """The output of one sample (*shape), and the recording."""
        with Recorder(self.parameters, self.rules, probes) as recorder:
            out = samples.call(self.model, tuple(t[None] for t in tensors))
        path, value = leaves_of(out)[0][self.leaf]
        check_leaf(path, value, 1)
        return value[0], recorder

    def _recorded(self, samples: Samples) -> tuple[tuple[Site, ...], tuple[int, ...], torch.dtype]:
        """Record one sample, and prove by autograd that no use of a parameter was missed."""
        first = tuple(t[0] for t in samples.tensors(slice(0, 1)))
        with undisturbed(self.model, self.parameters), torch.enable_grad():
            out, recorder = self._forward(samples, first, None)
            changed = recorder.changed()
            if changed is not None:
                raise ValueError(
                    f"{type(self.model).__name__}: the input of {changed} is changed in place after it, but the gradient "
                    "needs it; write x = x + .. for x += .."
                )
            missed: tuple = ()
            if out.requires_grad:
                missed = torch.autograd.grad(out.sum(), list(self.parameters.values()), allow_unused=True)
        hidden = [name for name, g in zip(self.parameters, missed, strict=False) if g is not None]
        if hidden:
            raise UnseenUseError(
                f"{hidden[0]}: forward uses it where torch functions cannot be seen (scripted code, a custom autograd.Function); "
                "call the plain module instead"
            )
        return tuple(recorder.sites), tuple(out.shape), out.dtype

    def _choose(self, samples: Samples) -> None:
        """Batched passes where they work: tried on one sample; and two samples alone against the plain forward of both."""
        one, few = slice(0, 1), slice(0, min(2, samples.count))
        basis = torch.zeros(1, *self.shape, dtype=self.dtype, device=samples.device)
        try:
            self.trial = self.block(samples, one, basis)
        except (RuntimeError, ValueError, NotImplementedError, TypeError):
            self.looped = True
            try:
                self.trial = self.block(samples, one, basis)
            except RuntimeError as error:
                if "checkpoint" in str(error):
                    raise ValueError(CHECKPOINTED) from error
                raise
        with torch.no_grad():
            alone = self.outputs(samples, few)
            leaf = leaves_of(samples.call(self.model, samples.tensors(few)))[0][self.leaf][1]
        scale = float(alone.abs().max()) + torch.finfo(self.dtype).tiny
        gap = float((alone - leaf).abs().max())
        if not gap <= scale * torch.finfo(self.dtype).eps ** 0.5:
            raise ValueError(
                f"{type(self.model).__name__}: a sample's output changes with the other samples in its batch (by {gap:.2g} of "
                f"{scale:.2g}): samples interact or forward keeps a state, so per-sample derivatives do not exist"
            )

    def outputs(self, samples: Samples, rows: slice) -> Tensor:
        """The outputs of some samples, each alone (n, *shape)."""
        return torch.stack(
            [
                leaves_of(samples.call(self.model, tuple(t[None] for t in one)))[0][self.leaf][1][0]
                for one in zip(*samples.tensors(rows), strict=True)
            ]
        )

    def probes(self, like: Tensor) -> list[Tensor]:
        """Zeros in the shapes of the sites."""
        return [torch.zeros(s.shape, dtype=s.dtype, device=like.device) for s in self.sites]

    def block(self, samples: Samples, rows: slice, basis: Tensor) -> Block:
        """Features and cotangents of some samples, for the outputs of a basis (R, *shape)."""
        with undisturbed(self.model, {}):
            return self._looped(samples, rows, basis) if self.looped else self._batched(samples, rows, basis)

    def _batched(self, samples: Samples, rows: slice, basis: Tensor) -> Block:
        zeros = self.probes(basis)

        def one(*tensors: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
            def forward(*probes: Tensor) -> tuple[Tensor, list[Tensor]]:
                out, recorder = self._forward(samples, tensors, list(probes))
                if len(recorder.sites) != len(probes):
                    raise RuntimeError("forward calls other functions for other samples")
                return out, recorder.features

            _, pull, features = torch.func.vjp(forward, *zeros, has_aux=True)  # type: ignore[misc]
            return features, torch.func.vmap(pull)(basis)

        with torch.no_grad():
            features, cotangents = torch.func.vmap(one)(*samples.tensors(rows))
        return self._as_block(list(features), list(cotangents), basis, len(samples.tensors(rows)[0]))

    @staticmethod
    def _as_block(features: list[Tensor], cotangents: list[Tensor], like: Tensor, count: int) -> Block:
        return Block(features, cotangents, count, like.dtype, like.device)

    def _looped(self, samples: Samples, rows: slice, basis: Tensor) -> Block:
        blocks = []
        for tensors in zip(*samples.tensors(rows), strict=True):
            with torch.enable_grad():
                out, recorder = self._forward(samples, tensors, None)
            found = [(s.shape, [type(u) for u, _ in s.uses]) for s in recorder.sites]
            if found != [(s.shape, [type(u) for u, _ in s.uses]) for s in self.sites]:
                raise ValueError(
                    f"{type(self.model).__name__}: forward takes another path for another sample; compute such samples one "
                    "kernel entry at a time, or make the path the same"
                )
            blocks.append(([f.detach() for f in recorder.features], _gradients(out, recorder.made(), basis)))
        features = [torch.stack(f) for f in zip(*(b[0] for b in blocks), strict=True)]
        cotangents = [torch.stack(g) for g in zip(*(b[1] for b in blocks), strict=True)]
        return self._as_block(features, cotangents, basis, len(blocks))


class UnseenUseError(ValueError):
    """A parameter is used where no recording can see it."""


def _gradients(out: Tensor, probes: list[Tensor], basis: Tensor) -> list[Tensor]:
    """Cotangents (R, *shape) of every probe."""
    if not out.requires_grad:
        return [p.new_zeros(len(basis), *p.shape) for p in probes]
    found: Any
    try:
        found = torch.autograd.grad(out, probes, basis, retain_graph=True, is_grads_batched=True, allow_unused=True)
    except RuntimeError:
        rows = [torch.autograd.grad(out, probes, b, retain_graph=True, allow_unused=True) for b in basis]
        found = [None if column[0] is None else torch.stack(column) for column in zip(*rows, strict=True)]
    return [p.new_zeros(len(basis), *p.shape) if g is None else g for p, g in zip(probes, found, strict=True)]


def checked_outputs(model: torch.nn.Module, samples: Samples) -> tuple[list[Any], Any]:
    """The leaves of the plain forward on at most two samples, checked, and their structure."""
    few = slice(0, min(2, samples.count))
    copies = tuple(t.clone() for t in samples.tensors(few))
    versions = [t._version for t in copies]
    with torch.no_grad():
        out = watched_forward(model, lambda: samples.call(model, copies), samples.device)
    if versions != [t._version for t in copies]:
        raise ValueError(f"the forward of {type(model).__name__} changes {samples.name} in place; write x = x + .. for x += ..")
    leaves, spec = leaves_of(out)
    for path, leaf in leaves:
        if leaf is not None:
            check_leaf(path, leaf, few.stop)
    return [leaf for _, leaf in leaves], spec
