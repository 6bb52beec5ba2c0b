"""Flows without closed form: any loss, momentum, times in any order, states to go on from, gradients, refusals."""

import pytest
import torch
from torch.nn import functional as F

from torchtangents.predict import FlowState, GradientFlow

CLASSES = torch.eye(2, dtype=torch.float64)[torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])]


def cross_entropy(fx, y):
    return -(y * fx.log_softmax(-1)).mean()


def hinge(fx, y):
    return F.softplus(1 - fx * (2 * y - 1)).mean()


@pytest.fixture
def kernels(problem):
    p = problem
    return p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)


@pytest.mark.parametrize("loss", ["cross_entropy", hinge])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_equals_small_steps_of_the_differential_equation(kernels, loss, momentum):
    """A thousand steps of Heun's method on the equations of the docstring."""
    k, cross = kernels
    t, rate, steps = 6.0, 0.6, 1000
    slope = torch.func.grad(cross_entropy if loss == "cross_entropy" else hinge)
    train, test = torch.zeros(9, 2, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)
    both, full = torch.cat([train, test]), torch.cat([k, cross])
    unit = rate**0.5 if momentum else rate
    velocity = torch.zeros_like(both)

    def change(both, velocity):
        push = -full @ slope(both[:9], CLASSES)
        return (velocity, push - (1 - momentum) / unit * velocity) if momentum else (push, torch.zeros_like(both))

    h = t * unit / steps
    for _ in range(steps):
        first = change(both, velocity)
        second = change(both + h * first[0], velocity + h * first[1])
        both, velocity = both + h / 2 * (first[0] + second[0]), velocity + h / 2 * (first[1] + second[1])
    found = GradientFlow(k, CLASSES, loss=loss, learning_rate=rate, momentum=momentum).at(t, k_test_train=cross)
    torch.testing.assert_close(torch.cat(found), both, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_times_in_any_order_and_shape(kernels, momentum):
    k, cross = kernels
    flow = GradientFlow(k, CLASSES, loss="cross_entropy", momentum=momentum)
    t = torch.tensor([[5.0, 0.0, 1.0], [1.0, 9.0, 5.0]], dtype=torch.float64)
    train, test = flow.at(t, 0.1, 0.2, cross)
    assert train.shape == (2, 3, 9, 2)
    assert test.shape == (2, 3, 4, 2)
    for i in range(2):
        for j in range(3):
            one = flow.at(t[i, j], 0.1, 0.2, cross)
            torch.testing.assert_close(train[i, j], one.train, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(test[i, j], one.test, rtol=1e-6, atol=1e-6)
    assert torch.equal(train[0, 1], torch.full_like(train[0, 1], 0.1))


@pytest.mark.parametrize("method", ["flow", "descent"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy", hinge])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_a_state_goes_on_where_it_stopped(kernels, method, loss, momentum):
    k, cross = kernels
    flow = GradientFlow(k, CLASSES, loss=loss, learning_rate=0.5, momentum=momentum, method=method)
    start = FlowState(0.3, torch.full((4, 2), 0.2, dtype=torch.float64))
    whole = flow.advance(12, start, cross)
    parts = flow.advance(12, flow.advance(7, flow.advance(3, start, cross), cross), cross)
    direct = flow.at(12, 0.3, 0.2, cross)
    assert whole.t == parts.t == 12.0
    for a, b in zip(whole[:4], parts[:4], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(whole.fx_train, direct.train, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(whole.fx_test, direct.test, rtol=1e-6, atol=1e-6)
    same = flow.advance(12, whole, cross)
    torch.testing.assert_close(same.fx_test, whole.fx_test, rtol=1e-14, atol=1e-14)


def test_states_are_float64_under_float32_kernels(kernels):
    k, _ = kernels
    flow = GradientFlow(k.float(), CLASSES.float(), loss="cross_entropy", momentum=0.5)
    state = flow.advance(2.0)
    assert state.fx_train.dtype == state.qx_train.dtype == torch.float64
    assert flow.at(2.0).train.dtype == torch.float32
    torch.testing.assert_close(flow.advance(5.0, state).fx_train.float(), flow.at(5.0).train, rtol=1e-5, atol=1e-5)


def test_tolerances_are_met(kernels):
    k, _ = kernels
    exact = GradientFlow(k, CLASSES, loss="cross_entropy", rtol=1e-12, atol=1e-12).at(50.0).train
    errors = [
        (GradientFlow(k, CLASSES, loss="cross_entropy", rtol=r, atol=r).at(50.0).train - exact).abs().max() for r in (1e-3, 1e-8)
    ]
    assert errors[1] < 1e-6
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("loss", ["cross_entropy", hinge])
def test_gradients(loss, momentum):
    draw = torch.Generator().manual_seed(0)
    x, x_test = (torch.randn(n, 3, generator=draw, dtype=torch.float64, requires_grad=True) for n in (4, 2))
    start = torch.randn(4, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    t = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)

    def outputs(x, x_test, start, t):
        flow = GradientFlow(x @ x.mT + 1, CLASSES[:4], loss=loss, momentum=momentum, diag_reg=0.1, rtol=1e-10, atol=1e-10)
        return tuple(flow.at(t, start, None, x_test @ x.mT + 1))

    assert torch.autograd.gradcheck(outputs, (x, x_test, start, t), atol=1e-5, rtol=1e-3, fast_mode=True)


def test_no_graph_is_kept_without_need(kernels):
    k, cross = kernels
    for loss in ("cross_entropy", hinge):
        assert not any(part.requires_grad for part in GradientFlow(k, CLASSES, loss=loss).at(1.0, k_test_train=cross))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "mae"}, ValueError, 'expected "mse", "cross_entropy" or a callable.*\'mae\''),
        ({"loss": lambda fx, y: fx - y}, ValueError, r"0-dim floating tensor, got \(9, 2\)"),
        ({"loss": lambda fx, y: 1.0}, ValueError, "0-dim floating tensor, got float"),
        ({"loss": lambda fx, y: y.sum()}, ValueError, "got a constant"),
        ({"loss": lambda fx, y: fx.detach().square().sum()}, ValueError, "do not detach"),
        ({"loss": lambda fx, y: 1e300 * fx.cosh().sum() + fx.sum()}, ArithmeticError, "solver stopped.*learning_rate"),
        ({"momentum": 1.0}, ValueError, r"momentum: .*\[0, 1\), got 1.0"),
        ({"method": "sgd"}, ValueError, "'flow', 'descent', got 'sgd'"),
        ({"rtol": 0.0}, ValueError, "rtol: expected a finite number > 0"),
    ],
)
def test_refusals(kernels, options, error, message):
    with pytest.raises(error, match=message):
        GradientFlow(kernels[0], CLASSES, **options).at(1.0)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (CLASSES[:, 0], r"\(N, ..., classes\), got \(9,\)"),
        (2 * CLASSES, "sum to 1 .* off by 1"),
        (2 * CLASSES - 0.5, "least entry -0.5"),
    ],
)
def test_cross_entropy_takes_probabilities(kernels, y, message):
    with pytest.raises(ValueError, match=message):
        GradientFlow(kernels[0], y, loss="cross_entropy")


def test_states_that_do_not_fit(kernels):
    k, cross = kernels
    flow = GradientFlow(k, CLASSES)
    with pytest.raises(ValueError, match=r"time >= that of the state, 3, got 2.0"):
        flow.advance(2.0, flow.advance(3.0))
    with pytest.raises(ValueError, match="one finite time"):
        flow.advance(torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="one finite time"):
        flow.advance(None)
    with pytest.raises(ValueError, match=r"both state.fx_test and k_test_train"):
        flow.advance(2.0, None, cross)
    with pytest.raises(ValueError, match="but momentum is 0"):
        flow.advance(2.0, FlowState(qx_train=1.0))
    with pytest.raises(ValueError, match=r"state.fx_train: expected shape \(9, 2\)"):
        flow.advance(2.0, FlowState(CLASSES[:3]))
    with pytest.raises(ValueError, match=r"t=None: only loss=\"mse\".* got 'cross_entropy'"):
        GradientFlow(k, CLASSES, loss="cross_entropy").at(None)
