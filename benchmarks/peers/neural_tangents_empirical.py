"""neural-tangents' empirical NTK by structured derivatives, compiled by XLA, of chains of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cases import Case
from ..finite import chain, is_finite, weights
from . import neural_tangents

ENVIRONMENT, versions = neural_tangents.ENVIRONMENT, neural_tangents.versions
OUTPUTS = ("ntk",)


def can(case: Case) -> bool:
    """Chains: their weights can be handed over."""
    return is_finite(case.net) and case.net[0][1] in ("fc", "cnn")


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray | None, outputs: Sequence[str]) -> Callable[[], tuple]:
    """One compiled function of both inputs; its first call compiles."""
    import jax

    jax.config.update("jax_enable_x64", x1.dtype == np.float64)
    import neural_tangents as nt

    drawn = chain(net, x1.shape[1:])
    params = [jax.numpy.asarray(w, x1.dtype) for w in weights(drawn)]
    a1, a2 = (None if x is None else jax.numpy.asarray(x) for x in (x1, x2))
    forward = _forward(jax)
    structured = nt.NtkImplementation.STRUCTURED_DERIVATIVES
    kernel = nt.empirical_ntk_fn(forward, trace_axes=(-1,), vmap_axes=0, implementation=structured)
    compute = jax.jit(kernel)
    return lambda: (jax.block_until_ready(compute(a1, a2, params)),)


def _forward(jax: Any) -> Callable:
    """The network of weights and biases in turn: 3 x 3 convolutions, then dense layers, ReLU between."""

    def forward(params: list, x: Any) -> Any:
        pairs = list(zip(params[::2], params[1::2], strict=True))
        for i, (w, b) in enumerate(pairs):
            if w.ndim == 4:
                x = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME") + b[:, None, None]
            else:
                x = x.reshape(len(x), -1) @ w.T + b
            x = jax.nn.relu(x) if i < len(pairs) - 1 else x
        return x

    return forward
