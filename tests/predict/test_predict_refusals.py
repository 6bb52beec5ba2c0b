"""Bad input gets an error that says what was expected, what arrived and what to do."""

import subprocess
import sys
import warnings
from typing import NamedTuple

import pytest
import torch

from torchtangents.covariance.refusal import UnsupportedError
from torchtangents.predict import Ensemble, GradientFlow, Posterior, SingularKernelError, max_learning_rate

K, Y = 2 * torch.eye(3) + 1, torch.ones(3, 2)
NAN = torch.tensor([[3.0, 1, 1], [1, 3, float("nan")], [1, float("nan"), 3]])


@pytest.mark.parametrize("make", [Posterior, GradientFlow])
@pytest.mark.parametrize(
    ("k", "y", "options", "error", "message"),
    [
        (K[:2], Y, {}, ValueError, r"\(N, N\).*got \(2, 3\)"),
        (K[:0, :0], Y[:0], {}, ValueError, r"N >= 1"),
        (K[:, :, None, None], Y, {}, ValueError, "leaves positions"),
        (K.tolist(), Y, {}, TypeError, "torch.as_tensor"),
        (K.int(), Y, {}, TypeError, "floating point"),
        (NAN, Y, {}, ValueError, r"k_train_train: .*nan at index \(1, 2\)"),
        (torch.triu(K), Y, {}, ValueError, "symmetric"),
        (K, Y[:2], {}, ValueError, r"y_train: expected shape \(3,\), \(3, any\) .*, got \(2, 2\)"),
        (K, Y[None], {}, ValueError, "one row for each input"),
        (K, Y[:, :0], {}, ValueError, "at least one output"),
        (K, Y.double(), {}, TypeError, r"y_train is torch.float64.*k_train_train is torch.float32"),
        (K, Y.to("meta"), {}, ValueError, "y_train is on meta but k_train_train on cpu"),
        (K, Y.long(), {}, TypeError, "one_hot"),
        (K, Y * float("inf"), {}, ValueError, r"y_train: .*inf at index \(0, 0\)"),
        (K, Y, {"diag_reg": -1.0}, ValueError, "diag_reg: expected a finite number >= 0, got -1.0"),
        (K, Y, {"diag_reg": "auto"}, ValueError, "diag_reg: .*'auto'"),
    ],
)
def test_train_matrices(make, k, y, options, error, message):
    with pytest.raises(error, match=message):
        make(k, y, **options)


@pytest.mark.parametrize(
    ("t", "error", "message"),
    [
        (-1.0, ValueError, "finite training times >= 0, got -1.0;"),
        (torch.tensor([1.0, -2.0]), ValueError, r"got -2.0 at index \(1,\)"),
        (float("inf"), ValueError, "t=None for infinite time"),
        (float("nan"), ValueError, "got nan"),
        (torch.tensor([]), ValueError, "at least one"),
        (1j, TypeError, "real training times"),
    ],
)
def test_times(t, error, message):
    with pytest.raises(error, match=message):
        GradientFlow(K, Y).at(t)


def test_test_matrices():
    flow, posterior = GradientFlow(K, Y), Posterior(K, Y)
    with pytest.raises(ValueError, match=r"k_test_train: expected shape \(any, 3\), got \(3, 2\)"):
        flow.at(1.0, k_test_train=K[:, :2])
    with pytest.raises(TypeError, match=r"k_test_train is torch\.float64"):
        posterior.at(K.double())
    with pytest.raises(ValueError, match=r"k_test_test: expected shape \(2, 2\) or \(2,\), got \(3, 3\)"):
        posterior.at(K[:2], K)
    with pytest.raises(ValueError, match=r"fx_train_0: expected shape \(3, 2\), got \(3,\)"):
        flow.at(1.0, Y[:, 0])
    with pytest.raises(TypeError, match=r"fx_test_0 is torch\.float64"):
        flow.at(1.0, 0.0, Y.double(), K)
    with pytest.raises(ValueError, match="learning_rate: expected a finite number > 0, got 0"):
        GradientFlow(K, Y, learning_rate=0)
    with pytest.raises(ValueError, match="y_train_size"):
        max_learning_rate(K, y_train_size=0)
    with pytest.raises(ValueError, match="number of samples"):
        posterior.samples(-1, K, K)


def test_ensemble(problem, fake_kernels):
    p = problem
    for options in ({"kernel": "gp"}, {"method": "sgd"}, {"learning_rate": 0.0}, {"diag_reg": -1.0}):
        calls = p.net.calls
        with pytest.raises(ValueError, match="expected"):
            Ensemble(p.net, p.x_train, p.y_train, **options)
        assert p.net.calls == calls  # before any kernel is computed
    with pytest.raises(ValueError, match="kernel: expected one of 'ntk', 'nngp', 'ntkgp', got 'gp'"):
        Ensemble(p.net, p.x_train, p.y_train, kernel="gp")
    with pytest.raises(ValueError, match=r"y_train: expected shape \(9,\)"):
        Ensemble(p.net, p.x_train, p.y_train[:5])
    with pytest.raises(TypeError, match=r"y_train is torch\.float32"):
        Ensemble(p.net, p.x_train, p.y_train.float())
    with pytest.raises(TypeError, match="x_train: expected a tensor or a tuple of tensors, got list"):
        Ensemble(p.net, p.x_train.tolist(), p.y_train)
    with pytest.raises(ValueError, match="'diagonal', None, got True"):
        Ensemble(p.net, p.x_train, p.y_train).at(1.0, p.x_test, True)
    with pytest.raises(ValueError, match=r"x_test: .*batch axis"):
        Ensemble(p.net, p.x_train, p.y_train).at(1.0, torch.tensor(1.0))


def test_ensemble_refuses_positions_and_outputs_that_are_not_gaussian(problem, fake_kernels, monkeypatch):
    p = problem

    class Pair(NamedTuple):
        nngp: torch.Tensor
        ntk: torch.Tensor

    k = torch.ones(9, 9, 4, 4)
    with monkeypatch.context() as patch:
        patch.setattr(fake_kernels, "kernels", lambda *_, **__: Pair(k, k))
        with pytest.raises(UnsupportedError, match=r"positions.*\(9, 9, 4, 4\)"):
            Ensemble(p.net, p.x_train, p.y_train)

    def refuse(net, x):
        raise UnsupportedError("1: the output is not Gaussian")

    monkeypatch.setattr(fake_kernels, "require_gaussian_output", refuse)
    with pytest.raises(UnsupportedError, match="not Gaussian"):
        Ensemble(p.net, p.x_train, p.y_train)


def test_import_is_light(elsewhere):
    heavy = {"gpytorch", "torchdiffeq", "linear_operator", "matplotlib", "dask"}
    code = f"import sys, torchtangents.predict; found = {heavy} & set(sys.modules); sys.exit(repr(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **elsewhere)
    assert done.returncode == 0, done.stderr


def test_a_singular_kernel_under_a_learned_regulariser_is_refused_without_a_warning():
    diag_reg = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SingularKernelError):
            Posterior(torch.ones(3, 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), diag_reg=diag_reg)
