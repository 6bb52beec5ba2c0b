"""Write golden.npz: predictions of neural-tangents 0.6.5 on one small regression problem, in float64.

Environment: neural-tangents==0.6.5 jax==0.4.23 jaxlib==0.4.23 "numpy<2" "scipy<1.13". Run: python make.py
"""

from collections import namedtuple
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402
from neural_tangents import stax  # noqa: E402

TIMES = [1e-3, 1.0, 30.0, 1e4]
RATE, REG = 0.7, 1e-3

rng = np.random.default_rng(0)
x_train, x_test = rng.normal(size=(12, 4)), rng.normal(size=(5, 4))
y_train = rng.normal(size=(12, 2))
f_train, f_test = rng.normal(size=(12, 2)), rng.normal(size=(5, 2))
layers = [stax.Dense(1, 1.5, 0.1), stax.Relu(), stax.Dense(1, 1.5, 0.1), stax.Relu(), stax.Dense(1, 1.5, 0.1)]
_, _, kernel_fn = stax.serial(*layers)
x = np.concatenate([x_train, x_test])
k = kernel_fn(x, None, ("nngp", "ntk"))
nngp, ntk = np.asarray(k.nngp), np.asarray(k.ntk)
out = {"nngp": nngp, "ntk": ntk, "y_train": y_train, "f_train": f_train, "f_test": f_test}
out |= {"times": np.array(TIMES), "rate": RATE, "reg": REG}


def table(x1, x2=None, get=("nngp", "ntk"), **_):
    """A kernel function on indices, so that every prediction starts from the stored matrices."""
    i, j = np.asarray(x1)[:, 0].astype(int), np.asarray(x1 if x2 is None else x2)[:, 0].astype(int)
    parts = {"nngp": nngp[np.ix_(i, j)], "ntk": ntk[np.ix_(i, j)]}
    if isinstance(get, str):
        return jax.numpy.array(parts[get])
    return namedtuple("Kernel", get)(*(jax.numpy.array(parts[g]) for g in get))


d, s = slice(0, 12), slice(12, 17)
i_train, i_test = np.arange(12.0)[:, None], np.arange(12.0, 17.0)[:, None]
for name, reg in (("plain", 0.0), ("reg", REG)):
    flow = nt.predict.gradient_descent_mse(jax.numpy.array(ntk[d, d]), y_train, RATE, reg)
    cross = jax.numpy.array(ntk[s, d])
    out[f"flow_{name}_train"], out[f"flow_{name}_test"] = flow(np.array(TIMES), f_train, f_test, cross)
    out[f"flow_{name}_train_inf"], out[f"flow_{name}_test_inf"] = flow(None, f_train, f_test, cross)
    ensemble = nt.predict.gradient_descent_mse_ensemble(table, i_train, y_train, RATE, reg)
    for get in ("ntk", "nngp"):
        for when, t in (("t", np.array(TIMES)), ("inf", None)):
            for where, points in (("train", None), ("test", i_test)):
                mean, covariance = ensemble(t, points, get, compute_cov=True)
                out[f"ensemble_{name}_{get}_{when}_{where}_mean"] = mean
                out[f"ensemble_{name}_{get}_{when}_{where}_cov"] = covariance
    posterior = nt.predict.gp_inference(table(i_train), y_train, reg)
    for get in ("nngp", "ntkgp"):
        mean, covariance = posterior(get, table(i_test, i_train), table(i_test))
        out[f"gp_{name}_{get}_mean"], out[f"gp_{name}_{get}_cov"] = mean, covariance
for momentum in (0.0, 0.9):
    out[f"rate_{momentum}"] = nt.predict.max_learning_rate(np.asarray(ntk[d, d]), y_train.size, momentum)
np.savez_compressed(Path(__file__).with_name("golden.npz"), **{key: np.asarray(value) for key, value in out.items()})
