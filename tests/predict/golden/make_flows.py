"""Write flows.npz: neural-tangents 0.6.5's gradient flow by its ODE solver: losses without closed form, and momentum.

Reads golden.npz beside it. Environment: as in make.py. Run: python make_flows.py
"""

from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402
from jax import numpy as jnp  # noqa: E402
from neural_tangents import stax  # noqa: E402

TIMES = [0.5, 3.0, 20.0, 150.0]
RATE = 0.7
HERE = Path(__file__).parent

with np.load(HERE / "golden.npz") as golden:
    ntk, f_train, f_test, targets = (jnp.array(golden[key]) for key in ("ntk", "f_train", "f_test", "y_train"))
d, s = slice(0, 12), slice(12, 17)
labels = jnp.eye(2)[jnp.argmax(targets, 1)]  # (12, 2), one-hot


def cross_entropy(fx, y):
    return -jnp.mean(jax.nn.log_softmax(fx) * y)


def mse(fx, y):
    return 0.5 * jnp.mean((fx - y) ** 2)


def log_cosh(fx, y):
    return jnp.mean(jnp.log(jnp.cosh(fx - y)))


# The tangent kernel of a finite network with every output: (N, N, 2, 2), zipped as (N1, N2, O1, O2) by neural-tangents.
x = np.random.default_rng(0).normal(size=(17, 4))
init, apply, _ = stax.serial(stax.Dense(64, 1.5, 0.1), stax.Relu(), stax.Dense(2, 1.5, 0.1))
_, params = init(jax.random.PRNGKey(0), x.shape)
full = nt.empirical_ntk_fn(apply, trace_axes=())(x, None, params)

out = {"labels": labels, "times": np.array(TIMES), "rate": RATE, "full": full}
for name, loss, y in (("cross_entropy", cross_entropy, labels), ("mse", mse, targets), ("log_cosh", log_cosh, targets)):
    for momentum in (None, 0.9, 0.5):
        flow = nt.predict.gradient_descent(loss, ntk[d, d], y, RATE, momentum)
        state = flow(np.array(TIMES), nt.predict.ODEState(f_train, f_test), None, ntk[s, d])
        for part in ("fx_train", "fx_test", "qx_train", "qx_test"):
            value = getattr(state, part)
            if value is not None:
                out[f"{name}_{momentum}_{part}"] = value
    flow = nt.predict.gradient_descent(loss, full[d, d], y, RATE, None, trace_axes=())
    out[f"{name}_full_train"], out[f"{name}_full_test"] = flow(np.array(TIMES), f_train, f_test, full[s, d])
closed = nt.predict.gradient_descent_mse(full[d, d], targets, RATE, 1e-3, trace_axes=())
out["closed_full_train"], out["closed_full_test"] = closed(np.array(TIMES), f_train, f_test, full[s, d])
out["absolute_train"], out["absolute_test"] = nt.predict.gradient_descent_mse(
    ntk[d, d], targets, RATE, 0.3, diag_reg_absolute_scale=True
)(np.array(TIMES), f_train, f_test, ntk[s, d])
posterior = nt.predict.gp_inference(full[d, d], targets, 1e-3, trace_axes=())
out["gp_full_mean"], out["gp_full_cov"] = posterior("ntkgp", full[s, d], full[s, s])
# An output of shape (2, 3) whose last axis the kernel lacks.
deep = np.random.default_rng(1).normal(size=(12, 2, 3))
traced = nt.predict.gradient_descent_mse(full[d, d], deep, RATE, trace_axes=(2,))
out["deep"] = deep
out["deep_train"], out["deep_test"] = traced(np.array(TIMES), 0.0, 0.0, full[s, d])
np.savez_compressed(HERE / "flows.npz", **{key: np.asarray(value) for key, value in out.items()})
