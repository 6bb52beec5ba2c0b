"""`Classifier`: every method with every kernel, each method against its own oracle, and the refusals."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss

import torchtangents as tt
from torchtangents.covariance.refusal import UnsupportedError
from torchtangents.predict import GradientFlow, Posterior, expected_calibration_error
from torchtangents.predict.classification import Task
from torchtangents.predict.classification.cross_entropy import CrossEntropyFlow
from torchtangents.predict.classification.dirichlet import Dirichlet
from torchtangents.predict.classification.expectation import log_expected_softmax, normal_points
from torchtangents.predict.classification.folds import folds
from torchtangents.predict.classification.one_hot import OneHotRegression
from torchtangents.predict.estimator import default_network

pytestmark = pytest.mark.slow

KERNELS = "ntk", "nngp"
EXACT = "regression", "cross_entropy", "dirichlet"
QUICK = {"n_steps": 20, "n_inducing": 20}  # of "variational"
METHODS = (*EXACT, pytest.param("variational", marks=pytest.mark.slow))


def digits(n=500):
    """Training and test images of scikit-learn's digits."""
    x, y = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(x))
    x, y = x[order] / 16, y[order]
    return x[:n], y[:n], x[500:], y[500:]


def blobs(classes=3, n=30):
    draw = np.random.RandomState(classes)
    y = np.arange(n) % classes
    return draw.randn(n, 2) + 2 * np.stack([np.cos(2 * np.pi * y / classes), np.sin(2 * np.pi * y / classes)], 1), y


def task(classes=3, n=30, kernel="ntk"):
    x, y = blobs(classes, n)
    return Task(default_network(), kernel, torch.tensor(x), torch.tensor(y), classes)


# What every method does


DIGITS = {  # accuracy, loss and calibration error
    "regression": (0.97, 0.08, 0.02),
    "cross_entropy": (0.96, 0.12, 0.03),
    "dirichlet": (0.97, 0.09, 0.03),
    "variational": (0.95, 0.3, 0.18),
}
MARKS = {(m, k): pytest.mark.long for m in ("cross_entropy", "variational") for k in KERNELS}
MARKS["cross_entropy", "ntk"] = pytest.mark.slow


@pytest.mark.parametrize(("method", "kernel"), [pytest.param(m, k, marks=MARKS.get((m, k), ())) for m in DIGITS for k in KERNELS])
def test_digits(method, kernel):
    accuracy, loss, error = DIGITS[method]
    x, y, x_test, y_test = digits()
    model = tt.predict.Classifier(method=method, kernel=kernel).fit(x, y)
    p = model.predict_proba(x_test)
    assert model.score(x_test, y_test) > accuracy
    assert log_loss(y_test, p) < loss
    assert expected_calibration_error(torch.tensor(p), torch.tensor(y_test)) < error


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("method", METHODS)
def test_shapes_labels_and_consistency(method, kernel, classes):
    x, y = blobs(classes)
    names = np.array(["plum", "apple", "fig"])[y]
    model = tt.predict.Classifier(method=method, kernel=kernel, **QUICK).fit(x, names)
    assert list(model.classes_) == sorted(set(names))
    p, chosen, scores = model.predict_proba(x), model.predict(x), model.decision_function(x)
    assert p.shape == (len(x), classes)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    np.testing.assert_array_equal(chosen, model.classes_[p.argmax(1)])
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), p)
    assert model.score(x, names) > 0.9
    if classes == 2:
        assert scores.shape == (len(x),)
        np.testing.assert_allclose(scores, np.log(p[:, 1] / p[:, 0]), rtol=1e-6, atol=1e-9)
    else:
        np.testing.assert_allclose(scores, np.log(p), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_seeds(method):
    x, y = blobs()
    model, other, again = (
        tt.predict.Classifier(method=method, batch_size=size, random_state=seed, **QUICK).fit(x, y)
        for size, seed in ((4, 0), (None, 0), (None, np.random.RandomState(3)))
    )
    state = torch.get_rng_state()
    np.testing.assert_allclose(model.predict_proba(x), other.predict_proba(x), rtol=1e-8)
    np.testing.assert_array_equal(model.predict_proba(x), model.predict_proba(x))
    assert np.isfinite(again.predict_proba(x)).all()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", METHODS)
def test_torchs_generator_and_the_network_stay(method):
    x, y = blobs()
    net = torch.nn.Sequential(tt.nn.LazyLinear(3), tt.nn.ReLU(), tt.nn.Linear(3, 1))
    before, state = net[2].weight.clone(), torch.get_rng_state()
    tt.predict.Classifier(net, method=method, **QUICK).fit(x, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(net[2].weight, before)
    assert torch.nn.parameter.is_lazy(net[0].weight)
    assert net[2].w_std == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_images_in_rows(method):
    x, y, x_test, y_test = digits(100)
    net = torch.nn.Sequential(
        tt.nn.Conv2d(1, 4, 3, padding=1, w_std=2**0.5), tt.nn.ReLU(), torch.nn.Flatten(), tt.nn.Linear(256, 1)
    )
    model = tt.predict.Classifier(net, method=method, input_shape=(1, 8, 8), kernel="nngp", **QUICK).fit(x, y)
    assert model.score(x_test[:100], y_test[:100]) > (0.7 if method == "variational" else 0.85)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_precision(method, dtype):
    x, y = blobs()
    model = tt.predict.Classifier(method=method, dtype=dtype, **QUICK).fit(x, y)
    wide = tt.predict.Classifier(method=method, **QUICK).fit(x, y)
    apart = 0.1 if method == "variational" else 1e-3  # torch draws other numbers in float32, and 20 steps do not forget them
    np.testing.assert_allclose(model.predict_proba(x), wide.predict_proba(x), atol=apart)


@pytest.mark.parametrize(("n", "count"), [(2, 2), (4, 4), (31, 5), (100, 5)])
def test_folds_share_out_every_class(n, count):
    labels = torch.arange(n) % 3
    parts = list(folds(labels, 0))
    assert len(parts) == count
    assert torch.equal(torch.cat([left for _, left in parts]).sort().values, torch.arange(n))
    for kept, left in parts:
        assert torch.equal(torch.cat([kept, left]).sort().values, torch.arange(n))
        shares = torch.bincount(labels[left], minlength=3) - torch.bincount(labels, minlength=3) / count
        assert shares.abs().max() < 1
    again, other = (next(folds(labels, seed))[1] for seed in (0, 5))
    assert torch.equal(parts[0][1], again)
    assert n < 30 or not torch.equal(again, other)


# "regression"


@pytest.mark.parametrize("kernel", KERNELS)
def test_calibration_beats_a_temperature_of_one(kernel):
    x, y, x_test, y_test = digits()
    model = tt.predict.Classifier(kernel=kernel).fit(x, y)
    plain = tt.predict.Classifier(kernel=kernel, temperature=1.0).fit(x, y)
    assert plain.temperature_ == 1.0
    assert log_loss(y_test, model.predict_proba(x_test)) < 0.1 * log_loss(y_test, plain.predict_proba(x_test))
    errors = [expected_calibration_error(torch.tensor(m.predict_proba(x_test)), torch.tensor(y_test)) for m in (model, plain)]
    assert errors[0] < 0.02 < 0.5 < errors[1]


@pytest.mark.parametrize("t", [None, 50.0])
def test_regression_is_the_flow_of_centred_targets(t):
    given = task()
    learned = OneHotRegression(given, 1e-2, t, 2.0, 1.0)
    x = torch.randn(5, 2, dtype=torch.float64)
    y = given.one_hot - 1 / 3
    flow = GradientFlow(given.train, y, learning_rate=2.0, diag_reg=1e-2)
    wanted = flow.at(t, None, k_test_train=given.cross(x)).test.log_softmax(1)
    torch.testing.assert_close(learned.log_probabilities(x), wanted, rtol=1e-9, atol=1e-12)


def test_regression_takes_its_temperature_from_leave_one_out():
    given = task()
    left_out = Posterior(given.train, given.one_hot - 1 / 3, diag_reg=1e-2).leave_one_out().mean
    wanted = tt.predict.temperature(left_out, given.labels)
    assert OneHotRegression(given, 1e-2, None, 1.0, None).temperature == pytest.approx(wanted, rel=1e-6)


def test_regression_at_a_finite_time_approaches_infinite_time():
    given = task()
    late, last = (OneHotRegression(given, 1e-1, t, 1.0, None) for t in (1e9, None))
    torch.testing.assert_close(late.weights, last.weights)
    assert late.temperature == pytest.approx(last.temperature, rel=0.2)  # five folds against leave-one-out
    early = OneHotRegression(given, 1e-1, 1e-9, 1.0, None)
    assert torch.isfinite(early.log_probabilities(given.x)).all()
    assert OneHotRegression(given, 1e-1, 0.0, 1.0, None).temperature == 1.0  # nothing is known at time 0


# "cross_entropy"


def test_cross_entropy_descends_its_loss():
    given = task()
    learned = CrossEntropyFlow(given, 0.0, 40.0, 0.5)
    k, y, f, steps = given.train, given.one_hot, torch.zeros(30, 3, dtype=torch.float64), 2000
    flow = GradientFlow(k, y, loss="cross_entropy", learning_rate=0.5)
    for _ in range(steps):  # Euler's method, of the loss whose time units GradientFlow takes
        f = f - 0.5 * 40.0 / steps * k @ (f.softmax(1) - y) / cross_entropy_size(flow, k, y)
    torch.testing.assert_close(learned.log_probabilities(given.x), f.log_softmax(1), rtol=2e-3, atol=2e-3)


def cross_entropy_size(flow, k, y):
    """n in dL/df = (softmax(f) - y) / n, from a short time."""
    tiny = 1e-6
    moved = flow.at(tiny, 0.0).train
    return (-0.5 * tiny * k @ (1 / 3 - y) / moved).median()


def test_cross_entropy_stops_early():
    x, y, x_test, y_test = digits(100)
    stopped = tt.predict.Classifier(method="cross_entropy").fit(x, y)
    t = stopped.method_.t
    losses = []
    for time in (t / 30, t, 30 * t):
        model = tt.predict.Classifier(method="cross_entropy", t=time).fit(x, y)
        assert model.method_.t == time
        losses.append(log_loss(y_test, model.predict_proba(x_test)))
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]
    np.testing.assert_array_equal(
        stopped.predict_proba(x_test), tt.predict.Classifier(method="cross_entropy", t=t).fit(x, y).predict_proba(x_test)
    )


# "dirichlet"


@pytest.mark.parametrize("kernel", KERNELS)
def test_dirichlet_is_gpytorchs_exact_inference(kernel):
    import gpytorch

    given = task(kernel=kernel)
    learned = Dirichlet(given, 0.0, 0.01)
    x = torch.randn(5, 2, dtype=torch.float64)
    likelihood = gpytorch.likelihoods.DirichletClassificationLikelihood(given.labels, alpha_epsilon=0.01, dtype=torch.float64)

    class Model(gpytorch.models.ExactGP):
        def __init__(self):
            super().__init__(given.x, likelihood.transformed_targets, likelihood)
            self.means = torch.tensor([process.mean for process in learned.processes])

        def forward(self, inputs):
            k = learned.amplitude * getattr(tt, kernel)(default_network(), inputs[0] if inputs.ndim == 3 else inputs)
            return gpytorch.distributions.MultivariateNormal(self.means[:, None].double().expand(3, len(k)), k.expand(3, -1, -1))

    model = Model().eval()
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        f = model(x)
    mean, variance = learned.moments(x)
    torch.testing.assert_close(mean, f.mean.mT, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(variance, f.variance.mT, rtol=1e-5, atol=1e-6)


def test_dirichlet_evidence_and_leave_one_out():
    given = task()
    learned = Dirichlet(given, 1e-2, 0.01)
    k = given.train + 1e-2 * given.train.diagonal().mean() * torch.eye(30)
    process = learned.processes[1]
    q = learned.amplitude * k + process.noise.diag()
    law = torch.distributions.MultivariateNormal(torch.full((30,), process.mean, dtype=torch.float64), q)
    assert process.evidence == pytest.approx(law.log_prob(process.y).item(), rel=1e-9)
    mean, variance = process.left_out()
    others = torch.arange(30) != 4
    response = torch.linalg.solve(q[others][:, others], q[others, 4])
    assert mean[4].item() == pytest.approx(process.mean + (response @ (process.y[others] - process.mean)).item(), rel=1e-8)
    assert variance[4].item() == pytest.approx((q[4, 4] - process.noise[4] - response @ q[others, 4]).item(), rel=1e-8)


def test_dirichlet_amplitude_and_mean_are_the_likeliest():
    given = task()
    learned = Dirichlet(given, 1e-2, 0.01)
    k = given.train + 1e-2 * given.train.diagonal().mean() * torch.eye(30)
    amplitude = torch.tensor(learned.amplitude, dtype=torch.float64, requires_grad=True)
    means = torch.tensor([p.mean for p in learned.processes], dtype=torch.float64, requires_grad=True)
    total = sum(
        torch.distributions.MultivariateNormal(m.expand(30), amplitude * k + p.noise.diag()).log_prob(p.y)
        for m, p in zip(means, learned.processes, strict=True)
    )
    slope, slopes = torch.autograd.grad(total, (amplitude, means))
    assert abs(slope.item()) * learned.amplitude < 0.1  # of a log likelihood, for an amplitude found within 1%
    assert slopes.abs().max() < 1e-6


def test_dirichlet_takes_the_epsilon_of_the_likeliest_labels():
    given = task()
    learned = Dirichlet(given, 1e-3, None)
    scores = {e: (fixed := Dirichlet(given, 1e-3, e))._left_out(fixed.processes) for e in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)}
    assert learned.alpha_epsilon == max(scores, key=scores.__getitem__)


def test_dirichlet_is_uncertain_far_from_the_data():
    x, y = blobs(2, 40)
    model = tt.predict.Classifier(method="dirichlet", kernel="nngp").fit(x, y)
    assert model.predict_proba([[0.0, 0.0]]).max() < model.predict_proba([[2.0, 0.0]]).max()


def test_expected_softmax_is_that_of_many_draws():
    draw = torch.Generator().manual_seed(0)
    mean, variance = (
        2 * torch.randn(20, 4, generator=draw, dtype=torch.float64),
        torch.rand(20, 4, generator=draw, dtype=torch.float64),
    )
    ours = log_expected_softmax(mean, variance, normal_points(4, 0, mean)).exp()
    n = 20000
    samples = (mean + variance.sqrt() * torch.randn(n, 20, 4, generator=draw, dtype=torch.float64)).softmax(-1)
    assert ((ours - samples.mean(0)).abs() < 4 * samples.std(0) / n**0.5 + 1e-3).all()  # and the sequence's own 1e-3
    torch.testing.assert_close(log_expected_softmax(mean, 0 * variance, normal_points(4, 0, mean)), mean.log_softmax(1))
    huge = log_expected_softmax(1e4 * mean, variance, normal_points(4, 0, mean))
    assert torch.isfinite(huge).all()


# Refusals

X, Y = blobs()
NAN = np.where(np.arange(60).reshape(30, 2) == 4, np.nan, X)


def positions():
    return torch.nn.Sequential(tt.nn.Conv1d(1, 2, 3, padding=1), tt.nn.ReLU(), tt.nn.Conv1d(2, 1, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": "ntkgp"}, ValueError, "kernel: expected one of 'ntk', 'nngp', got 'ntkgp'"),
        ({"diag_reg": -1.0}, ValueError, "diag_reg: expected a finite number >= 0"),
        ({"t": -1.0}, ValueError, "t: expected a finite number >= 0"),
        ({"batch_size": -1}, ValueError, "batch_size"),
        ({"input_shape": (3,)}, ValueError, r"input_shape: expected a shape of 2 numbers.*got \(3,\) of 3"),
        ({"net": positions(), "input_shape": (1, 2)}, ValueError, "positions"),
        ({"net": torch.nn.Sequential(tt.nn.LazyLinear(3), tt.nn.ReLU())}, ValueError, "not Gaussian"),
        ({"net": torch.nn.Linear(2, 1)}, UnsupportedError, "from_torch"),
        ({"net": 3}, TypeError, "net: expected a torch.nn.Module"),
    ],
)
def test_refused_parameters(method, options, error, message):
    with pytest.raises(error, match=message):
        tt.predict.Classifier(method=method, **QUICK, **options).fit(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "laplace"},
            "method: expected one of 'regression', 'cross_entropy', 'dirichlet', 'variational', got 'laplace'",
        ),
        ({"temperature": 0.0}, "temperature: expected a finite number > 0"),
        ({"method": "dirichlet", "alpha_epsilon": 0.0}, "alpha_epsilon: expected a finite number > 0"),
        ({"method": "variational", "n_inducing": 0}, "n_inducing"),
        ({"method": "variational", "n_steps": 1.5}, "n_steps: expected a whole number >= 1"),
        ({"diag_reg": 0.0, "net": tt.nn.Linear(2, 1)}, "pass diag_reg="),
    ],
)
def test_refused_parameters_of_methods(options, message):
    with pytest.raises(ValueError, match=message):
        tt.predict.Classifier(**options).fit(X, Y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, np.ones(30), "at least two classes, got one class"),
        (NAN, Y, "NaN"),
        (X, Y + 0.5, "Unknown label type"),
        (X[:5], Y, "inconsistent numbers of samples"),
        (X.reshape(30, 1, 2), Y, r"input_shape=\(1, 2\)"),
    ],
)
def test_refused_data(method, x, y, message):
    with pytest.raises(ValueError, match=message):
        tt.predict.Classifier(method=method).fit(x, y)


def test_refused_predictions():
    model = tt.predict.Classifier()
    for ask in (model.predict, model.predict_proba, model.predict_log_proba, model.decision_function):
        with pytest.raises(NotFittedError):
            ask(X)
    model.fit(X, Y)
    for x, message in ((X[:, :1], "expecting 2 features"), (NAN, "NaN")):
        with pytest.raises(ValueError, match=message):
            model.predict(x)
