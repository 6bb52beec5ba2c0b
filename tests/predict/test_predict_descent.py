"""Gradient descent in discrete steps, against the iteration itself."""

import pytest
import torch

from torchtangents.predict import Ensemble, GradientFlow, SingularKernelError, max_learning_rate
from torchtangents.predict.evolve import decay, gain, growth
from torchtangents.predict.gram import Gram


def run(k, cross, y, rate, momentum, steps, start=0.0):
    """Heavy-ball descent on 1/2 mean((f - y)^2) in function space."""
    full = torch.cat([k, cross])
    both = torch.full((len(full), y.shape[1]), start, dtype=y.dtype)
    velocity = torch.zeros_like(both)
    for _ in range(steps):
        velocity = momentum * velocity - rate * full @ (both[: len(k)] - y) / y.numel()
        both = both + velocity
    return both[: len(k)], both[len(k) :]


@pytest.fixture
def kernels(problem):
    p = problem
    return p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train)


@pytest.mark.parametrize("fraction", [0.05, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_is_the_iteration(problem, kernels, fraction, momentum):
    """Below and above the largest stable rate: what descent really does."""
    (k, cross), y = kernels, problem.y_train
    rate = fraction * max_learning_rate(k, y_train_size=y.numel(), momentum=momentum)
    flow = GradientFlow(k, y, learning_rate=rate, momentum=momentum, method="descent")
    t = torch.tensor([30, 0, 1, 7])
    train, test = flow.at(t, 0.3, 0.3, cross)
    for i, steps in enumerate(t.tolist()):
        expected = run(k, cross, y, rate, momentum, steps, 0.3)
        torch.testing.assert_close(train[i], expected[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(test[i], expected[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize(
    ("loss", "of"),
    [
        ("mse", lambda fx, y: 0.5 * (fx - y).square().mean()),
        ("cross_entropy", lambda fx, y: torch.nn.functional.cross_entropy(fx, y) / 3),
        (torch.nn.functional.cross_entropy, torch.nn.functional.cross_entropy),
    ],
)
def test_is_torchs_own_optimiser_on_a_linear_model(loss, of, momentum):
    """f = phi w has the constant tangent kernel phi phi^T, of all outputs alike."""
    draw = torch.Generator().manual_seed(0)
    phi, phi_test, w = (torch.randn(*size, generator=draw, dtype=torch.float64) for size in ((8, 5), (4, 5), (5, 3)))
    y = torch.softmax(torch.randn(8, 3, generator=draw, dtype=torch.float64), -1)
    flow = GradientFlow(phi @ phi.mT, y, loss=loss, learning_rate=0.2, momentum=momentum, method="descent")
    found = flow.at(25, phi @ w, phi_test @ w, phi_test @ phi.mT)
    w.requires_grad_()
    optimiser = torch.optim.SGD([w], lr=0.2, momentum=momentum)
    for _ in range(25):
        optimiser.zero_grad()
        of(phi @ w, y).backward()
        optimiser.step()
    for a, b in zip(found, (phi @ w, phi_test @ w), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
def test_max_learning_rate_is_where_descent_diverges(momentum):
    k = torch.diag(torch.tensor([5.0, 1.0, 0.5], dtype=torch.float64))
    y = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    limit = max_learning_rate(k, momentum=momentum)
    t = torch.tensor([0, 2000])
    for fraction, converges in ((0.99, True), (1.01, False)):
        flow = GradientFlow(k, y, learning_rate=fraction * limit, momentum=momentum, method="descent")
        before, after = (flow.at(t).train - y).abs().amax(1)
        assert (after < 1e-3 * before) == converges
        assert (after > 1e3 * before) != converges


def test_small_steps_are_the_flow(problem, kernels):
    (k, cross), y = kernels, problem.y_train
    steps = GradientFlow(k, y, learning_rate=1e-4, method="descent").at(100_000, k_test_train=cross)
    flow = GradientFlow(k, y).at(10.0, k_test_train=cross)
    for a, b in zip(steps, flow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_infinite_time(problem, kernels):
    (k, cross), y = kernels, problem.y_train
    limit = max_learning_rate(k, y_train_size=y.numel())
    flow = GradientFlow(k, y, learning_rate=0.9 * limit, method="descent")
    for late, infinite in zip(flow.at(10**7, k_test_train=cross), flow.at(None, k_test_train=cross), strict=True):
        torch.testing.assert_close(late, infinite, rtol=1e-9, atol=1e-9)
    with pytest.raises(ArithmeticError, match=f"diverges: .*below {limit:.4g} it converges"):
        GradientFlow(k, y, learning_rate=1.01 * limit, method="descent").at(None)
    with pytest.raises(ArithmeticError, match=f"diverges: .*below {limit:.4g} it converges"):
        GradientFlow(k, y, learning_rate=5 * limit, method="descent").at(10**6)
    with pytest.raises(ArithmeticError, match=r"below .* it converges"):
        GradientFlow(k, y, learning_rate=9 * limit, momentum=0.5, method="descent").at(1000)
    with pytest.raises(ArithmeticError, match="too large; lower it"):
        GradientFlow(k, y, loss=lambda fx, y: (fx - y).pow(4).mean(), learning_rate=1e3, method="descent").at(100)


def test_steps_are_whole_numbers(kernels, problem):
    flow = GradientFlow(kernels[0], problem.y_train, method="descent")
    with pytest.raises(ValueError, match="whole numbers of steps"):
        flow.at(1.5)
    with pytest.raises(ValueError, match="without gradient"):
        flow.at(torch.tensor(2.0, requires_grad=True))
    with pytest.raises(ValueError, match="whole numbers"):
        flow.advance(2.5)


@pytest.mark.parametrize("function", [decay, growth, gain])
@pytest.mark.parametrize("values", [[1, 2, 4, 8], [2, 2, 2, 5], [1e-3, 1e-3, 2e-3, 1], [2.5, 9, 9.5, 9.5], [1, 2.5, 2.5, 3]])
def test_gradients_of_the_functions_of_steps(function, values):
    """The step 0.4: modes shrink without (a < 2.5) and with changes of sign, and at 2.5 in one step."""
    draw = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=draw, dtype=torch.float64)).Q
    half = ((basis * torch.tensor(values, dtype=torch.float64)) @ basis.mT / 2).requires_grad_()
    v = torch.randn(4, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    s = torch.tensor([0.0, 1, 2, 3, 8], dtype=torch.float64)

    def evolved(half, v):
        return function(Gram(half + half.mT), s, v, 0.4)

    assert torch.autograd.gradcheck(evolved, (half, v), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_gradients_through_the_iteration(loss):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    y = torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0]]

    def outputs(x):
        k = x @ x.mT + 1
        return tuple(GradientFlow(k, y, loss=loss, momentum=0.5, method="descent").at(torch.tensor([1, 6]), k_test_train=k))

    assert torch.autograd.gradcheck(outputs, (x,))


@pytest.mark.parametrize("kernel", ["ntk", "nngp", "ntkgp"])
def test_ensemble(problem, fake_kernels, kernel):
    """Its mean is descent from zero; its covariance that of descent from each draw of the prior, which is linear in it."""
    p, steps, rate = problem, 5, 3.0
    ensemble = Ensemble(p.net, p.x_train, p.y_train, kernel=kernel, learning_rate=rate, method="descent")
    x = torch.cat([p.x_train, p.x_test])
    of, prior = (p.nngp if kernel == "nngp" else p.ntk), (p.ntk if kernel == "ntkgp" else p.nngp)
    k, cross = of(p.x_train, p.x_train), of(p.x_test, p.x_train)
    mean, covariance = ensemble.at(steps, p.x_test)
    torch.testing.assert_close(mean, run(k, cross, p.y_train, rate, 0.0, steps)[1], rtol=1e-10, atol=1e-10)
    full = torch.cat([k, cross])
    move = torch.eye(13, dtype=torch.float64)
    for _ in range(steps):
        move = move - rate / p.y_train.numel() * full @ move[:9]
    joint = move @ prior(x, x) @ move.mT
    if kernel == "ntk":
        torch.testing.assert_close(covariance, joint[9:, 9:], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ensemble.at(steps).covariance, joint[:9, :9], rtol=1e-10, atol=1e-10)
    loss = ensemble.loss(steps)
    residual = ensemble.at(steps).mean - p.y_train
    expected = 0.5 * (residual.square().mean() + joint[:9, :9].diagonal().mean())
    torch.testing.assert_close(loss.mean, expected, rtol=1e-10, atol=1e-10)


def test_ensemble_refusals(problem, fake_kernels):
    p = problem
    limit = max_learning_rate(p.ntk(p.x_train, p.x_train), y_train_size=18)
    with pytest.raises(ValueError, match="'flow', 'descent'"):
        Ensemble(p.net, p.x_train, p.y_train, method="newton")
    fast = Ensemble(p.net, p.x_train, p.y_train, learning_rate=1.5 * limit, method="descent")
    for t in (None, 10**6):
        with pytest.raises(ArithmeticError, match=f"below {limit:.4g}"):
            fast.at(t, p.x_test)
    x = torch.cat([p.x_train, p.x_train])
    with pytest.raises(SingularKernelError):
        Ensemble(p.net, x, torch.cat([p.y_train] * 2), method="descent", learning_rate=0.01).at(None, p.x_test)
