"""Empirical kernels of neural-tangents 0.6.5 for tests/empirical/test_empirical_golden.py. Run in an environment of its own:

    pip install neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 "numpy<2" "scipy<1.13"
    python tests/empirical/golden/make.py

It writes kernels.npz beside itself: weights (in torch's layout), inputs, and NTKs for pairs of trace and diagonal axes.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import neural_tangents as nt
import numpy as np

jax.config.update("jax_enable_x64", True)
AXES = [((-1,), ()), ((), ()), ((), (-1,)), ((), (0,)), ((0, -1), ())]
POSITIONS = [*AXES, ((1,), (2,)), ((2,), (1,)), ((1, 2), (0,)), ((), (1, 2))]
rng = np.random.default_rng(0)


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def mlp(p, x):
    """Linear(3, 8), tanh, Linear(8, 4)."""
    return linear(p, "2", jnp.tanh(linear(p, "0", x)))


def cnn(p, x):
    """Conv2d(2, 4, 3, padding=1), sigmoid, Conv2d(4, 4, 2, stride 2, groups 2), flatten, Linear(16, 3)."""
    x = conv(x, p["0.weight"], p["0.bias"], 1, 1, 1)
    x = conv(jax.nn.sigmoid(x), p["2.weight"], p["2.bias"], 2, 0, 2)
    return linear(p, "4", x.reshape(len(x), -1))


def positions(p, x):
    """Conv1d(2, 4, 3, padding=1), tanh, then Linear(4, 3) at each position: (N, T, 3)."""
    x = jax.lax.conv_general_dilated(x, p["conv.weight"], (1,), [(1, 1)], dimension_numbers=("NCH", "OIH", "NCH"))
    return linear(p, "head", jnp.tanh(x + p["conv.bias"][:, None]).swapaxes(1, 2))


def conv(x, w, b, stride, pad, groups):
    numbers = ("NCHW", "OIHW", "NCHW")
    args = ((stride,) * 2, [(pad, pad)] * 2)
    return jax.lax.conv_general_dilated(x, w, *args, dimension_numbers=numbers, feature_group_count=groups) + b[:, None, None]


NETS = {  # name: (function, shapes of weights, shape of an input, axes)
    "mlp": (mlp, {"0.weight": (8, 3), "0.bias": (8,), "2.weight": (4, 8), "2.bias": (4,)}, (3,), AXES),
    "cnn": (cnn, {"0.weight": (4, 2, 3, 3), "0.bias": (4,), "2.weight": (4, 2, 2, 2), "2.bias": (4,), "4.weight": (3, 16), "4.bias": (3,)}, (2, 4, 4), AXES),
    "positions": (positions, {"conv.weight": (4, 2, 3), "conv.bias": (4,), "head.weight": (3, 4), "head.bias": (3,)}, (2, 5), POSITIONS),
}  # fmt: skip

if __name__ == "__main__":
    out = {}
    for name, (f, shapes, shape, axes) in NETS.items():
        p = {k: rng.normal(size=s) for k, s in shapes.items()}
        x1, x2 = rng.normal(size=(3, *shape)), rng.normal(size=(3, *shape))
        out |= {f"{name}/weights/{k}": v for k, v in p.items()} | {f"{name}/x1": x1, f"{name}/x2": x2}
        for trace, diagonal in axes:
            key = f"{name}/{','.join(map(str, trace))}/{','.join(map(str, diagonal))}"
            ntk = nt.empirical_ntk_fn(f, trace_axes=trace, diagonal_axes=diagonal)
            nngp = nt.empirical_nngp_fn(f, trace_axes=trace, diagonal_axes=diagonal)
            out |= {f"{key}/ntk": ntk(x1, x2, p), f"{key}/ntk-same": ntk(x1, None, p), f"{key}/nngp": nngp(x1, x2, p)}
    np.savez_compressed(Path(__file__).parent / "kernels.npz", **out)
