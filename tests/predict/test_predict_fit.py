"""Fitted hyperparameters: gradients against differences, the truth found again, and every reason to stop."""

import math

import pytest
import torch
from torch import Tensor, nn

import torchtangents as tt
from torchtangents.nn.hyperparameters import hyperparameters
from torchtangents.predict import SingularKernelError, fit
from torchtangents.predict.search import climb

pytestmark = pytest.mark.slow

DTYPE = torch.float64
QUIET = {"progress": False}


def network(activation: nn.Module | None = None, width: int = 16, **law) -> nn.Sequential:
    law = {"w_std": 1.2, "b_std": 0.3, **law}
    return nn.Sequential(tt.nn.Linear(2, width, **law), activation or tt.nn.Erf(), tt.nn.Linear(width, 1, **law))


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(30, 2, dtype=DTYPE)
    return x, torch.sin(2 * x[:, 0]) + 0.3 * torch.randn(30, dtype=DTYPE)


def kernel_of(net: nn.Module, x: Tensor, kernel: str) -> Tensor:
    return getattr(tt, kernel)(net, x)


def density(
    found, x: Tensor, y: Tensor, kernel: str, objective: str, net: nn.Module | None = None, diag_reg: float | None = None
):
    of = tt.predict.log_marginal_likelihood if objective == "evidence" else tt.predict.leave_one_out_log_density
    k = kernel_of(net or found.net, x, kernel)
    return of(k, y, found.diag_reg if diag_reg is None else diag_reg).item() / y.numel()


@pytest.mark.parametrize("kernel", ["nngp", "ntk"])
@pytest.mark.parametrize("objective", ["evidence", "leave_one_out"])
@pytest.mark.parametrize(("tied", "scale"), [(True, None), (False, None), (True, False), (False, False)])
def test_the_result_is_a_stationary_point_of_the_objective(kernel, objective, tied, scale):
    """The history ends at the objective of the network found, and no learned number improves it by differences."""
    x = torch.randn(30, 2, dtype=DTYPE)
    clean = torch.stack([torch.sin(2 * x[:, 0]), torch.cos(x[:, 1]), x.prod(1)], 1)
    y = clean + 0.5 * torch.randn(30, 3, dtype=DTYPE)
    found = fit(network(nn.ReLU()), x, y, kernel=kernel, objective=objective, tied=tied, scale=scale, patience=200, **QUIET)
    best = density(found, x, y, kernel, objective)
    assert found.history[-1] == pytest.approx(best, abs=1e-11)
    assert found.history == sorted(found.history)
    assert found.history[0] < best
    assert found.converged, found.reason
    assert "bound" not in found.reason
    step = 1e-4
    groups = [[h] for h in hyperparameters(found.net)]
    if tied:  # only together, but for the scale of the last layer
        groups = [[h for h in hyperparameters(found.net) if h.name == name] for name in ("w_std", "b_std")]
    for group in groups:
        slope = 0.0
        for sign in (1, -1):
            values = [h.value for h in group]
            for h, value in zip(group, values, strict=True):
                h.assign(value * math.exp(sign * step))
            slope += sign * density(found, x, y, kernel, objective) / (2 * step)
            for h, value in zip(group, values, strict=True):
                h.assign(value)
        assert abs(slope) < 3e-5
    up, down = (density(found, x, y, kernel, objective, diag_reg=found.diag_reg * math.exp(s)) for s in (step, -step))
    assert abs(up - down) / (2 * step) < 3e-5


def test_a_known_law_is_found_again():
    """Targets drawn from an Erf network's own process: the fitted numbers reach at least the density of the true ones."""
    x = torch.randn(150, 2, dtype=DTYPE)
    truth = network(w_std=2.0, b_std=0.7)
    k = tt.nngp(truth, x)
    ridge = 0.02 * k.diagonal().mean()
    y = torch.linalg.cholesky(k + ridge * torch.eye(150, dtype=DTYPE)) @ torch.randn(150, 3, dtype=DTYPE)
    found = fit(network(), x, y, scale=False, **QUIET)
    assert found.history[-1] > density(None, x, y, "nngp", "evidence", truth, 0.02)
    assert found.values["0.w_std"] == found.values["2.w_std"] == pytest.approx(2.0, rel=0.3)
    assert found.values["0.b_std"] == found.values["2.b_std"] == pytest.approx(0.7, rel=0.6)
    assert found.noise == pytest.approx(ridge.item(), rel=0.3)


def test_the_users_network_stays_and_the_copy_keeps_the_weights(data):
    x, y = data
    net = network()
    before = {name: w.clone() for name, w in net.state_dict().items()}
    values = [h.value for h in hyperparameters(net)]
    found = fit(net, x, y, **QUIET)
    assert [h.value for h in hyperparameters(net)] == values
    for name, weight in found.net.state_dict().items():
        assert torch.equal(weight, before[name])
        assert torch.equal(net.state_dict()[name], before[name])
    assert found.values == {f"{h.layer}.{h.name}": h.value for h in hyperparameters(found.net) if h.name.endswith("std")}
    assert all(isinstance(h.value, float) for h in hyperparameters(found.net))
    assert found.net(x.float()).shape == (30, 1)


def test_posterior_and_ensemble_are_one_process(data):
    x, y = data
    x_test = torch.randn(5, 2, dtype=DTYPE)
    for kernel in ("nngp", "ntk"):
        found = fit(network(), x, y, kernel=kernel, **QUIET)
        of = getattr(tt, kernel)
        expected = found.posterior().at(of(found.net, x_test, x), of(found.net, x_test))
        mean, covariance = found.ensemble().at(None, x_test)
        torch.testing.assert_close(mean, expected.mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(covariance, expected.covariance, rtol=1e-9, atol=1e-9)
        assert found.noise == pytest.approx(found.diag_reg * of(found.net, x, diagonal=True).mean().item(), rel=1e-9)
    assert fit(network(), x, y, kernel="ntk", **QUIET).ensemble(kernel="ntk").kernel == "ntk"


def test_only_what_is_asked_for_is_learned(data):
    x, y = data
    net = nn.Sequential(tt.nn.Linear(2, 8, b_std=0.0), tt.nn.Erf(1.0, 0.5, 0.1), tt.nn.Linear(8, 1, w_std=1.5, b_std=0.2))
    found = fit(net, x, y, learn=["0.w_std", "b"], **QUIET)
    assert list(found.values) == ["0.w_std", "1.b"]
    assert found.diag_reg == 1e-2
    found = fit(net, x, y, learn=["diag_reg"], **QUIET)
    assert found.values == {}
    assert found.diag_reg != 1e-2
    found = fit(net, x, y, learn=["c", "w_std"], scale=False, **QUIET)
    assert found.values["2.w_std"] == pytest.approx(1.5 * found.values["0.w_std"])
    assert found.values["1.c"] != 0.1


def test_no_scale_where_the_last_layer_does_not_carry_it(data):
    """In the parametrisation "standard" the NTK has terms that no w_std multiplies."""
    x, y = data
    net = network(parameterization="standard")
    found = fit(net, x, y, kernel="ntk", **QUIET)
    assert found.values["0.w_std"] == found.values["2.w_std"]
    with pytest.raises(ValueError, match="scale: expected a last layer that scales the whole kernel, and found none"):
        fit(net, x, y, kernel="ntk", scale=True, **QUIET)


def test_targets_in_other_units_give_the_same_fit(data):
    x, y = data
    one, other = fit(network(), x, y, **QUIET), fit(network(), x, 100 * y, **QUIET)
    assert other.diag_reg == pytest.approx(one.diag_reg, rel=1e-3)
    assert other.values["2.w_std"] == pytest.approx(100 * one.values["2.w_std"], rel=1e-3)
    assert other.noise == pytest.approx(1e4 * one.noise, rel=1e-3)


def test_float32(data):
    x, y = data
    found, exact = fit(network(), x.float(), y.float(), **QUIET), fit(network(), x, y, **QUIET)
    assert found.history[-1] == pytest.approx(exact.history[-1], abs=1e-3)


def test_several_outputs_images_and_a_user_s_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = tt.nn.Conv2d(1, 4, 3, padding=1, w_std=1.4), tt.nn.Linear(64, 2)

        def forward(self, x):
            return self.last(torch.relu(self.conv(x)).flatten(1))

    x, y = torch.randn(8, 1, 4, 4, dtype=DTYPE), torch.randn(8, 2, dtype=DTYPE)
    found = fit(Net(), x, y, max_steps=3, **QUIET)
    assert set(found.values) == {"conv.w_std", "conv.b_std", "last.w_std", "last.b_std"}


def test_step_limit_and_no_progress_are_said(data):
    x, y = data
    found = fit(network(), x, y, max_steps=2, **QUIET)
    assert found.reason.startswith("step limit: max_steps=2")
    assert not found.converged
    assert len(found.history) == 3
    found = fit(network(), x, y, patience=2, tolerance=0.5, **QUIET)
    assert found.reason.startswith("no progress: 2 steps gained less than 0.5")
    assert len(found.history) == 3


def test_a_bound_is_said():
    x = torch.linspace(-1, 1, 10, dtype=DTYPE)[:, None]
    net = nn.Sequential(tt.nn.Linear(1, 8), tt.nn.Erf(), tt.nn.Linear(8, 1))
    found = fit(net, x, 2 * x[:, 0], **QUIET)
    assert "at a bound" in found.reason
    assert "diag_reg" in found.reason
    assert found.diag_reg == pytest.approx(torch.finfo(DTYPE).eps ** 0.5)


@pytest.mark.parametrize(
    "trouble",
    [SingularKernelError("k is singular", 0.0, None), OverflowError("not finite"), math.nan],
    ids=["singular", "overflow", "nan"],
)
def test_trouble_on_the_way_is_a_reason_and_at_the_start_an_error(trouble):
    def hill(point: Tensor, edge: float) -> Tensor:
        if point.detach()[0] > edge:
            if isinstance(trouble, Exception):
                raise trouble
            return point.sum() * trouble
        return -0.1 * ((point - 3) ** 2).sum()

    limits = {"max_steps": 50, "patience": 10, "tolerance": 0.0, "gradient_tolerance": 1e-6, "progress": False}
    found = climb(lambda u: hill(u, 2.0), [(-9.0, 9.0)], ["w_std"], **limits)
    assert found.reason.startswith("numerical trouble: ")
    assert not found.converged
    assert 0 < found.point.item() <= 2
    assert found.history[-1] == pytest.approx(-0.1 * (found.point.item() - 3) ** 2)
    with pytest.raises(type(trouble) if isinstance(trouble, Exception) else FloatingPointError):
        climb(lambda u: hill(u, -1.0), [(-9.0, 9.0)], ["w_std"], **limits)
    done = climb(lambda u: hill(u, 5.0), [(-9.0, 9.0)], ["w_std"], **limits)
    assert done.converged
    assert done.point.item() == pytest.approx(3, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "ntkgp"}, "kernel: expected one of 'nngp', 'ntk', got 'ntkgp'"),
        ({"objective": "loss"}, "objective: expected one of 'evidence', 'leave_one_out'"),
        ({"learn": ["w_stdd"]}, r"learn: expected names among diag_reg, .*0.w_std.*, got 'w_stdd'"),
        ({"learn": []}, "learn: expected at least one"),
        ({"diag_reg": 0.0}, "diag_reg: expected a finite number > 0"),
        ({"diag_reg": 1e-12}, r"diag_reg: expected a start between 1.49e-08 \(in torch.float64\)"),
        ({"max_steps": 0}, "max_steps: expected a number of steps >= 1, got 0"),
        ({"patience": True}, "patience: expected"),
        ({"tolerance": -1.0}, "tolerance: expected a finite number >= 0"),
        ({"scale": "yes"}, "scale: expected one of None, True, False"),
        ({"backend": "abacus"}, "backend"),
    ],
)
def test_options_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), *data, **{**QUIET, **options})


def test_data_and_networks_refused(data):
    x, y = data
    with pytest.raises(ValueError, match=r"y_train: expected shape \(30,\)"):
        fit(network(), x, y[:5], **QUIET)
    with pytest.raises(TypeError, match=r"y_train is torch\.float32"):
        fit(network(), x, y.float(), **QUIET)
    with pytest.raises(ValueError, match="got zeros"):
        fit(network(), x, 0 * y, **QUIET)
    with pytest.raises(ValueError, match="not Gaussian"):
        fit(nn.Sequential(tt.nn.Linear(2, 4), nn.ReLU()), x, y, **QUIET)
    with pytest.raises(ValueError, match=r"0.b_std: expected a start > 0"):
        fit(network(b_std=torch.tensor(0.0)), x, y, **QUIET)
    for name in ("w_std", "diag_reg"):
        with pytest.raises(TypeError, match=rf"learn: expected a list of names, got '{name}'"):
            fit(network(), x, y, learn=name, **QUIET)
    with pytest.raises(TypeError, match="x_train"):
        fit(network(), x.tolist(), y, **QUIET)
