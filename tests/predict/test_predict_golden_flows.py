"""Agreement with neural-tangents 0.6.5's ODE flows and kernels with output axes (golden/make_flows.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from torchtangents.predict import FlowState, GradientFlow, Posterior

TRAIN, TEST = slice(0, 12), slice(12, 17)
SOLVER = 2e-6  # two adaptive solvers; the tolerances of theirs, 1.4e-8 a step, are not exposed. Measured: 3e-7


def log_cosh(fx: Tensor, y: Tensor) -> Tensor:
    return (fx - y).cosh().log().mean()


def mse(fx: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (fx - y).square().mean()


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    out = {}
    for name in ("golden", "flows"):
        with np.load(Path(__file__).parent / "golden" / f"{name}.npz") as file:
            out |= {key: torch.from_numpy(file[key]) for key in file.files if name == "flows" or key != "times"}
    return out


def close(value, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


def targets(golden: dict[str, Tensor], name: str) -> Tensor:
    return golden["labels" if name == "cross_entropy" else "y_train"]


@pytest.mark.parametrize("momentum", [None, 0.9, 0.5])
@pytest.mark.parametrize(("name", "loss"), [("cross_entropy", "cross_entropy"), ("mse", "mse"), ("log_cosh", log_cosh)])
def test_flow(golden, name, loss, momentum):
    ntk, rate = golden["ntk"], golden["rate"].item()
    y = targets(golden, name)
    flow = GradientFlow(ntk[TRAIN, TRAIN], y, loss=loss, learning_rate=rate, momentum=momentum or 0.0)
    train, test = flow.at(golden["times"], golden["f_train"], golden["f_test"], ntk[TEST, TRAIN])
    close(train, golden[f"{name}_{momentum}_fx_train"], SOLVER)
    close(test, golden[f"{name}_{momentum}_fx_test"], SOLVER)
    state = FlowState(golden["f_train"], golden["f_test"])
    for i, t in enumerate(golden["times"].tolist()):  # with the velocities, resumed at each time
        state = flow.advance(t, state, ntk[TEST, TRAIN])
        for part in ("fx_train", "fx_test", "qx_train", "qx_test"):
            expected = golden.get(f"{name}_{momentum}_{part}")
            if expected is None:
                assert getattr(state, part) is None
            else:
                close(getattr(state, part), expected[i], SOLVER)


@pytest.mark.parametrize(
    ("name", "loss"), [("cross_entropy", "cross_entropy"), ("mse", "mse"), ("mse", mse), ("log_cosh", log_cosh)]
)
def test_flow_on_a_kernel_with_output_axes(golden, name, loss):
    full, rate = golden["full"], golden["rate"].item()
    flow = GradientFlow(full[TRAIN, TRAIN], targets(golden, name), loss=loss, learning_rate=rate)
    train, test = flow.at(golden["times"], golden["f_train"], golden["f_test"], full[TEST, TRAIN])
    close(train, golden[f"{name}_full_train"], SOLVER)
    close(test, golden[f"{name}_full_test"], SOLVER)


def test_closed_forms_on_a_kernel_with_output_axes(golden):
    full, rate, y = golden["full"], golden["rate"].item(), golden["y_train"]
    flow = GradientFlow(full[TRAIN, TRAIN], y, learning_rate=rate, diag_reg=1e-3)
    train, test = flow.at(golden["times"], golden["f_train"], golden["f_test"], full[TEST, TRAIN])
    close(train, golden["closed_full_train"], 1e-10)
    close(test, golden["closed_full_test"], 1e-10)
    mean, covariance = Posterior(full[TRAIN, TRAIN], y, diag_reg=1e-3).at(full[TEST, TRAIN], full[TEST, TEST])
    close(mean, golden["gp_full_mean"], 1e-10)
    close(covariance, golden["gp_full_cov"], 1e-10)


def test_some_output_axes_traced(golden):
    full, rate = golden["full"], golden["rate"].item()
    flow = GradientFlow(full[TRAIN, TRAIN], golden["deep"], learning_rate=rate, trace_axes=(2,))
    train, test = flow.at(golden["times"], k_test_train=full[TEST, TRAIN])
    close(train, golden["deep_train"], 1e-10)
    close(test, golden["deep_test"], 1e-10)


def test_absolute_regulariser(golden):
    ntk, rate = golden["ntk"], golden["rate"].item()
    options = {"learning_rate": rate, "diag_reg": 0.3, "diag_reg_absolute_scale": True}
    flow = GradientFlow(ntk[TRAIN, TRAIN], golden["y_train"], **options)
    train, test = flow.at(golden["times"], golden["f_train"], golden["f_test"], ntk[TEST, TRAIN])
    close(train, golden["absolute_train"], 1e-10)
    close(test, golden["absolute_test"], 1e-10)
