"""torch's functions and modules meet the rules of the layers, whichever way they are called."""

import math

import pytest
import torch
import torch.nn.functional as F

import torchtangents as tt

n, T = tt.nn, torch.nn


class Apply(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = n.Linear(4, 4, w_std=0.7), n.Linear(4, 1), function

    def forward(self, x):
        return self.b(self.function(self.a(x)))


SAME = {
    "relu": (
        n.ReLU(),
        [T.ReLU(True), torch.relu_, F.relu_, lambda h: h.clamp(min=0), lambda h: h.clamp_min(0), F.relu, torch.relu],
    ),
    "leaky": (
        n.LeakyReLU(0.25),
        [T.LeakyReLU(0.25), lambda h: F.leaky_relu(h, 0.25), T.RReLU(0.2, 0.3).eval(), lambda h: F.rrelu(h, 0.2, 0.3)],
    ),
    "abs": (n.Abs(), [abs, torch.abs, lambda h: h.abs_()]),
    "sign": (n.Sign(), [torch.sign, lambda h: h.sgn()]),
    "erf": (n.Erf(), [torch.erf, torch.special.erf, lambda h: h.erf()]),
    "erfc": (n.Erf(-1.0, 1.0, 1.0), [torch.erfc, torch.special.erfc]),
    "sin": (n.Sin(), [torch.sin, lambda h: h.sin_()]),
    "cos": (n.Cos(), [torch.cos, lambda h: h.cos()]),
    "exp": (n.Exp(), [torch.exp, lambda h: h.exp(), lambda h: h.exp_(), lambda h: math.e**h, lambda h: torch.pow(math.e, h)]),
    "exp-scaled": (n.Exp(1.0, 0.5), [lambda h: torch.exp(h / 2), lambda h: math.exp(0.5) ** h]),
    "exp2": (n.Exp(1.0, math.log(2)), [torch.exp2, torch.special.exp2, lambda h: 2**h]),
    "expm1": (n.Elementwise(torch.expm1), [torch.expm1, lambda h: h.expm1()]),
    "square": (
        n.Monomial(2),
        [
            torch.square,
            lambda h: h**2,
            lambda h: h.square(),
            lambda h: torch.pow(h, 2.0),
            lambda h: h.pow_(2),
            lambda h: h ** torch.tensor(2),
        ],
    ),
    "cube": (n.Monomial(3), [lambda h: h**3, lambda h: h.pow(3)]),
    "first-power": (n.ABReLU(1.0, 1.0), [lambda h: h**1]),
    "gelu": (n.GELU(), [T.GELU(), F.gelu]),
    "gelu-tanh": (n.GELU("tanh"), [T.GELU("tanh"), lambda h: F.gelu(h, approximate="tanh")]),
    "elu": (n.ELU(0.5), [T.ELU(0.5), T.ELU(0.5, inplace=True), lambda h: F.elu(h, 0.5)]),
    "selu": (n.SELU(), [T.SELU(), F.selu, torch.selu, T.SELU(inplace=True)]),
    "celu": (n.CELU(2.0), [T.CELU(2.0), lambda h: F.celu(h, 2.0), lambda h: torch.celu(h, 2.0)]),
    "tanh": (n.Tanh(), [T.Tanh(), F.tanh, torch.tanh, lambda h: h.tanh_()]),
    "sigmoid": (n.Sigmoid(), [T.Sigmoid(), F.sigmoid, torch.special.expit]),
    "silu": (n.SiLU(), [T.SiLU(), F.silu, T.SiLU(inplace=True)]),
    "mish": (n.Mish(), [T.Mish(), F.mish]),
    "softplus": (n.Softplus(2.0, 25.0), [T.Softplus(2.0, 25.0), lambda h: F.softplus(h, 2.0, 25.0)]),
    "log-sigmoid": (n.LogSigmoid(), [T.LogSigmoid(), F.logsigmoid]),
    "softsign": (n.Softsign(), [T.Softsign(), F.softsign]),
    "tanhshrink": (n.Tanhshrink(), [T.Tanhshrink(), F.tanhshrink]),
    "softshrink": (n.Softshrink(0.3), [T.Softshrink(0.3), lambda h: F.softshrink(h, 0.3)]),
    "hardtanh": (
        n.Hardtanh(-0.5, 2.0),
        [
            T.Hardtanh(-0.5, 2.0),
            lambda h: F.hardtanh(h, -0.5, 2.0),
            lambda h: h.clamp(-0.5, 2),
            lambda h: torch.clip(h, min=-0.5, max=2.0),
            lambda h: h.clamp_(-0.5, 2.0),
        ],
    ),
    "relu6": (n.ReLU6(), [T.ReLU6(), F.relu6, lambda h: h.clamp(0, 6)]),
    "hardswish": (n.Hardswish(), [T.Hardswish(), F.hardswish]),
    "hardsigmoid": (n.Hardsigmoid(), [T.Hardsigmoid(), F.hardsigmoid]),
    "atan": (n.Elementwise(torch.atan), [torch.atan, torch.arctan, lambda h: h.atan()]),
    "constant": (n.Monomial(0), [lambda h: h**0]),
    "clamp-one-side": (
        n.Elementwise(lambda x: x.clamp(max=0.5), breakpoints=(0.5,)),
        [lambda h: h.clamp(max=0.5), lambda h: torch.clamp_max(h, 0.5)],
    ),
    "clamp-crossed": (n.Polynomial([0.3]), [lambda h: h.clamp(0.7, 0.3)]),
}


@pytest.mark.parametrize("name", SAME)
def test_same_kernels_and_the_same_forward(name):
    layer, functions = SAME[name]
    x, h = torch.randn(3, 4, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    expected = tt.kernels(Apply(layer), x)
    for function in functions:
        torch.testing.assert_close(function(h.clone()), layer(h.clone()), rtol=1e-6, atol=1e-9)
        for mine, theirs in zip(tt.kernels(Apply(function), x), expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-8 if name == "clamp-one-side" else 1e-12, atol=1e-9)


REFUSED = {
    "root": (lambda h: h**0.5, "exponent 0.5"),
    "inverse": (lambda h: h**-1, "exponent -1"),
    "both": (lambda h: h**h, "one recorded value by another"),
    "negative-base": (lambda h: (-2.0) ** h, "positive base"),
    "rrelu": (T.RReLU(), r"function \(RReLU\): rrelu in training"),
    "hardshrink": (T.Hardshrink(), r"function \(Hardshrink\): hardshrink"),
    "threshold": (T.Threshold(0.1, 0.0), r"function \(Threshold\): .*threshold"),
    "prelu": (T.PReLU(), "parameter 'function.weight' directly"),
    "glu": (T.GLU(), r"function \(GLU\): glu"),
    "softmax": (T.Softmax(1), r"function \(Softmax\): softmax"),
    "softmin": (T.Softmin(1), r"function \(Softmin\): softmin"),
    "log": (torch.log, "log has no infinite-width rule"),
    "sqrt": (torch.sqrt, "sqrt"),
    "floor": (torch.floor, "floor"),
    "tensor-bounds": (lambda h: h.clamp(torch.zeros(4), torch.ones(4)), "clamp between tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    function, pattern = REFUSED[name]
    with pytest.raises(tt.UnsupportedError, match=pattern):
        tt.nngp(Apply(function), torch.randn(3, 4))
