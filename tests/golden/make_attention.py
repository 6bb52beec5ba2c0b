"""Attention, positional embeddings and masks by neural-tangents 0.6.5, in the environment of make.py.

    python tests/golden/make_attention.py

It writes attention.npz beside itself: inputs (N, T, C), a mask (1 where there are data) and (nngp, ntk) for every name in
tests/test_golden_attention.py.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from neural_tangents import stax

jax.config.update("jax_enable_x64", True)
W, B, MASKED = 1.3, 0.2, 100.0


def dense(width=8):
    return stax.Dense(width, W_std=W, b_std=B)


def attention(mechanism="SOFTMAX", linear=True, **options):
    return stax.GlobalSelfAttention(
        8, 8, 8, 2, linear, W_key_std=0.9, W_query_std=0.9, W_value_std=1.1, W_out_std=W, b_std=B,
        attention_mechanism=mechanism, **options,
    )  # fmt: skip


def after(*layers):
    return stax.serial(dense(), *layers, stax.Relu(), stax.Flatten(), dense(1))


def position(kind, **options):
    return attention(pos_emb_type=kind, W_pos_emb_std=0.7, **{"val_pos_emb": True, **options})


def conv():
    return stax.Conv(8, (3,), None, "SAME", W_std=W, b_std=B)


def decay(squared):
    return jnp.exp(-0.5 * squared)


PLAIN = {
    "softmax": after(attention()),
    "relu": after(attention("RELU")),
    "abs": after(attention("ABS")),
    "identity": after(attention("IDENTITY")),
    "root": after(attention("IDENTITY", False)),
    "first": stax.serial(attention(), stax.Relu(), stax.Flatten(), dense(1)),
    "twice": after(stax.LayerNorm(), attention(), dense(), stax.Erf(), dense(), attention("RELU")),
    "position-sum": after(position("SUM")),
    "position-cat": after(position("CONCAT", n_chan_pos_emb=4)),
    "position-decay": after(position("SUM", pos_emb_decay_fn=decay)),
    "keys-sum": after(position("SUM", pos_emb_decay_fn=decay, val_pos_emb=False)),
    "keys-cat": after(position("CONCAT", n_chan_pos_emb=4, mechanism="RELU", val_pos_emb=False)),
    "keys-root": after(position("SUM", mechanism="IDENTITY", linear=False, val_pos_emb=False)),
    "position-root": after(position("SUM", mechanism="IDENTITY", linear=False)),
}
MASKS = {
    "masked-softmax": stax.serial(dense(), attention(), stax.Relu(), stax.GlobalAvgPool(), dense(1)),
    "masked-relu": stax.serial(dense(), attention("RELU"), stax.Relu(), stax.GlobalAvgPool(), dense(1)),
    "masked-conv": stax.serial(conv(), stax.Relu(), conv(), stax.Relu(), stax.GlobalAvgPool(), dense(1)),
    "masked-flatten": stax.serial(conv(), stax.Relu(), conv(), stax.Flatten(), dense(1)),
}


def main():
    rng = np.random.default_rng(1)
    x1, x2 = rng.standard_normal((3, 5, 4)), rng.standard_normal((4, 5, 4))
    mask = (rng.random((3, 5)) < 0.7) | (np.arange(5) == 0)
    out = {"x1": x1, "x2": x2, "mask": mask}
    for name, (_, _, kernel_fn) in {**PLAIN, **MASKS}.items():
        if name in MASKS:
            k = kernel_fn(np.where(mask[..., None], x1, MASKED), x2, ("nngp", "ntk"), mask_constant=MASKED)
        else:
            k = kernel_fn(x1, x2, ("nngp", "ntk"))
        out[f"{name}/nngp"], out[f"{name}/ntk"] = np.asarray(k.nngp), np.asarray(k.ntk)
    np.savez_compressed(Path(__file__).parent / "attention.npz", **out)


if __name__ == "__main__":
    main()
