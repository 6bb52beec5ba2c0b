"""Kernels of neural-tangents 0.6.5 for tests/test_golden.py. Run in an environment of its own:

    pip install neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 "numpy<2" "scipy<1.13"
    python tests/golden/make.py

It writes kernels.npz beside itself: inputs (channels first) and (nngp, ntk) for every name in nets.py.
"""

from pathlib import Path

import jax
import numpy as np
from neural_tangents import stax

jax.config.update("jax_enable_x64", True)
W, B = 1.3, 0.2


def dense(width=1, w=W, b=B, p="ntk"):
    return stax.Dense(width, W_std=w, b_std=b, parameterization=p)


def conv(width=8, k=(3, 3), s=None, pad="SAME", w=W, b=B, p="ntk"):
    return stax.Conv(width, k, s, pad, W_std=w, b_std=b, parameterization=p)


def serial(*layers):
    return stax.serial(*layers)


def residual(branch, shortcut=None):
    return serial(stax.FanOut(2), stax.parallel(branch, shortcut or stax.Identity()), stax.FanInSum())


RELU, FLAT, GAP = stax.Relu(), stax.Flatten(), stax.GlobalAvgPool()
ACTIVATIONS = {
    "relu": stax.Relu(), "leaky": stax.LeakyRelu(0.2), "abs": stax.Abs(), "abrelu": stax.ABRelu(-0.3, 1.2),
    "erf": stax.Erf(1.2, 0.7, 0.3), "sigmoid-like": stax.Sigmoid_like(), "gelu": stax.Gelu(), "sin": stax.Sin(1.1, 0.8, 0.3),
    "cos": stax.Cos(0.9, 1.1, 0.2), "rbf": stax.Rbf(0.6), "sign": stax.Sign(),
}  # fmt: skip
VECTORS = {f"fc-{name}": serial(dense(64), act, dense(64), act, dense()) for name, act in ACTIVATIONS.items()} | {
    "fc-1": dense(),
    "fc-no-bias": serial(dense(64, b=None), RELU, dense(b=None)),
    "fc-10": serial(*[layer for _ in range(10) for layer in (dense(64), RELU)], dense()),
    "fc-standard": serial(dense(64, p="standard"), RELU, dense(48, p="standard"), RELU, dense(p="standard")),
    "fc-layernorm": serial(dense(64), stax.LayerNorm(), RELU, dense()),
    "fc-layernorm-after": serial(dense(64), RELU, dense(64), stax.LayerNorm(), stax.Erf(), dense()),
    "fc-residual": serial(
        dense(64), residual(serial(RELU, dense(64))), residual(serial(RELU, dense(64), RELU, dense(64))), dense()
    ),
    "fc-dropout-test": serial(dense(64), RELU, stax.Dropout(0.6, mode="test"), dense()),
}
SEQUENCES = {
    "seq-avg": serial(conv(k=(3,)), RELU, stax.AvgPool((2,), (2,)), conv(k=(2,), pad="VALID"), RELU, FLAT, dense()),
    "seq-gap": serial(conv(k=(3,)), stax.Gelu(), GAP, dense()),
}
IMAGES = {
    "cnn-1": serial(conv(), RELU, FLAT, dense()),
    "cnn-3-valid": serial(conv(pad="VALID"), RELU, conv(k=(2, 2), pad="VALID"), RELU, conv(k=(2, 1), pad="VALID"), RELU, FLAT, dense()),
    "cnn-circular": serial(conv(pad="CIRCULAR"), RELU, conv(pad="CIRCULAR"), RELU, FLAT, dense()),
    "cnn-kernel-32": serial(conv(k=(3, 2), pad="VALID"), RELU, conv(), RELU, GAP, dense()),
    "cnn-stride-valid": serial(conv(s=(2, 2), pad="VALID"), RELU, conv(k=(2, 2), pad="VALID"), RELU, FLAT, dense()),
    "cnn-stride-same": serial(conv(s=(2, 2)), RELU, conv(), RELU, GAP, dense()),
    "cnn-avg-flatten": serial(conv(), RELU, stax.AvgPool((2, 2), (2, 2)), conv(), RELU, FLAT, dense()),
    "cnn-overlap": serial(conv(), RELU, stax.AvgPool((3, 3), (2, 2)), conv(), RELU, FLAT, dense()),
    "cnn-sum": serial(conv(), RELU, stax.SumPool((2, 2), (2, 2)), conv(), RELU, GAP, dense()),
    "cnn-gap": serial(conv(), RELU, conv(), RELU, GAP, dense()),
    "cnn-gsp": serial(conv(), RELU, conv(), RELU, stax.GlobalSumPool(), dense()),
    "cnn-pool-relu": serial(conv(), stax.AvgPool((2, 2), (1, 1)), RELU, conv(), RELU, GAP, dense()),
    "cnn-standard": serial(conv(p="standard"), RELU, conv(12, p="standard"), RELU, GAP, dense(p="standard")),
    "cnn-standard-flat": serial(conv(p="standard"), RELU, conv(12, p="standard"), RELU, FLAT, dense(p="standard")),
    "cnn-residual": serial(conv(), residual(serial(RELU, conv(), RELU, conv())), RELU, FLAT, dense()),
    "wide-resnet": serial(conv(), residual(serial(RELU, conv(s=(2, 2)), RELU, conv()), conv(s=(2, 2))),
                          residual(serial(RELU, conv(), RELU, conv())), GAP, dense()),
    "cnn-layernorm": serial(conv(), stax.LayerNorm(), RELU, conv(), RELU, FLAT, dense()),
    "cnn-layernorm-all": serial(conv(), stax.LayerNorm((1, 2, 3)), RELU, conv(), RELU, GAP, dense()),
    "cnn-erf-pool": serial(conv(), stax.Erf(), stax.AvgPool((2, 2), (2, 2)), conv(), stax.Erf(), GAP, dense()),
    "cnn-gelu-circular": serial(conv(pad="CIRCULAR"), stax.Gelu(), conv(pad="CIRCULAR"), stax.Gelu(), FLAT, dense()),
    "cnn-sin": serial(conv(), stax.Sin(1.0, 1.0, 0.3), conv(), stax.Sin(1.0, 1.0, 0.3), GAP, dense()),
    "cnn-positions": serial(conv(), RELU, conv(pad="VALID")),
    "cnn-token-dense": serial(conv(), RELU, dense(8), RELU, GAP, dense()),
}  # fmt: skip


def main():
    rng = np.random.default_rng(0)
    kinds = {
        "vectors": (VECTORS, (3, 7), (4, 7)),
        "sequences": (SEQUENCES, (3, 3, 9), (4, 3, 9)),
        "images": (IMAGES, (3, 3, 6, 5), (4, 3, 6, 5)),
    }
    out = {}
    for kind, (nets, shape1, shape2) in kinds.items():
        x1, x2 = rng.standard_normal(shape1), rng.standard_normal(shape2)
        out[f"{kind}/x1"], out[f"{kind}/x2"] = x1, x2
        last1, last2 = (np.moveaxis(x, 1, -1) for x in (x1, x2))
        for name, (_, _, kernel_fn) in nets.items():
            k, own = kernel_fn(last1, last2, ("nngp", "ntk")), kernel_fn(last1, None, ("nngp", "ntk"))
            for part in ("nngp", "ntk"):
                value = np.asarray(getattr(k, part))
                if value.ndim == 6:  # neural-tangents interleaves the positions: (h1, h2, w1, w2)
                    value = value.transpose(0, 1, 2, 4, 3, 5)
                else:
                    out[f"{kind}/{name}/{part}_self"] = np.asarray(getattr(own, part))
                out[f"{kind}/{name}/{part}"] = value
    np.savez_compressed(Path(__file__).parent / "kernels.npz", **out)


if __name__ == "__main__":
    main()
