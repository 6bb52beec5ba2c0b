"""neural-tangents on JAX, compiled by XLA, channels last as it prefers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..architectures import B_STD, W_STD
from ..cases import Case

ENVIRONMENT = "neural-tangents"
OUTPUTS = ("nngp", "ntk")


def can(case: Case) -> bool:
    """It has every layer of the cases."""
    return True


def versions() -> dict[str, str]:
    """Versions, and the cores that XLA's pool of threads uses."""
    from importlib.metadata import version
    from os import cpu_count

    import jax  # noqa: F401  (missing: say so now)

    return {name: version(name) for name in ("neural-tangents", "jax", "jaxlib")} | {"threads": str(cpu_count())}


def prepare(net: Sequence, x1: np.ndarray, x2: np.ndarray, outputs: Sequence[str]) -> Callable[[], tuple]:
    """One compiled function of both inputs; its first call compiles."""
    import jax

    jax.config.update("jax_enable_x64", x1.dtype == np.float64)
    from neural_tangents import stax

    _, _, kernel = _serial(stax, net)
    a1, a2 = (jax.numpy.asarray(np.moveaxis(x, 1, -1)) for x in (x1, x2))
    compute = jax.jit(lambda a, b: tuple(kernel(a, b, tuple(outputs))))
    return lambda: jax.block_until_ready(compute(a1, a2))


def _serial(stax: Any, net: Sequence) -> Any:
    return stax.serial(*(_layer(stax, *layer) for layer in net)) if net else stax.Identity()


def _layer(stax: Any, kind: str, *arguments: Any) -> Any:
    if kind == "conv":
        size, stride = arguments
        return stax.Conv(1, (size, size), (stride, stride), "SAME", W_STD, B_STD)
    if kind == "avgpool":
        return stax.AvgPool(arguments * 2, arguments * 2)
    if kind == "residual":
        branches = (_serial(stax, branch) for branch in arguments)
        return stax.serial(stax.FanOut(2), stax.parallel(*branches), stax.FanInSum())
    if kind == "dense":
        return stax.Dense(1, W_STD, B_STD)
    return {"relu": stax.Relu, "gap": stax.GlobalAvgPool, "flatten": stax.Flatten}[kind]()
