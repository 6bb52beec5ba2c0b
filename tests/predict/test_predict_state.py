"""Fitted predictors are saved, loaded and moved, with the factors that they have."""

import io

import pytest
import torch

from torchtangents.predict import Ensemble, GradientFlow, Posterior

pytestmark = pytest.mark.usefixtures("fake_kernels")
NOISE = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
DIAGONAL = {"diag_reg": 0.01, "diag_reg_absolute_scale": True, "noise": NOISE}


def quartic(fx, y):
    return (fx - y).pow(4).mean()


def cases(p):
    """Name -> (predictor, function that asks it, arguments of from_state_dict)."""
    k, cross, corner = p.ntk(p.x_train, p.x_train), p.ntk(p.x_test, p.x_train), p.ntk(p.x_test, p.x_test)
    full = torch.einsum("nm,ab->nmab", k, torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64))
    wide = torch.einsum("nm,ab->nmab", cross, torch.tensor([[1.0, 0.3], [0.3, 1.0]], dtype=torch.float64))
    labels = p.y_train.softmax(-1)

    def flow(cross):
        return lambda f: (*f.at(torch.tensor([3.0, 1.0]), 0.1, 0.2, cross), f.advance(2.0, None).fx_train)

    def limit(cross):
        return lambda f: (*flow(cross)(f), *f.at(None, k_test_train=cross))

    def posterior(q):
        return (*q.at(cross, corner), *q.leave_one_out(), q.log_marginal_likelihood())

    def ensemble(x):
        return lambda e: (*e.at(2.0, x), *e.at(None, x, "diagonal"), *e.loss(1.0))

    return {
        "posterior": (Posterior(k, p.y_train, **DIAGONAL), posterior, {}),
        "flow": (GradientFlow(k, p.y_train, learning_rate=0.3, **DIAGONAL), limit(cross), {}),
        "momentum": (GradientFlow(k, p.y_train, learning_rate=0.3, momentum=0.5), limit(cross), {}),
        "axes": (GradientFlow(full, p.y_train, method="descent", learning_rate=0.1), flow(wide), {}),
        "cross_entropy": (GradientFlow(k, labels, loss="cross_entropy", rtol=1e-5), flow(cross), {}),
        "callable": (GradientFlow(k, labels, loss=quartic), flow(cross), {"loss": quartic}),
        "ensemble": (Ensemble(p.net, p.x_train, p.y_train, learning_rate=0.4, **DIAGONAL), ensemble(p.x_test), {"net": p.net}),
        "nngp": (Ensemble(p.net, p.x_train, p.y_train, kernel="nngp", method="descent"), ensemble(p.x_test), {"net": p.net}),
        "tuple": (
            Ensemble(p.net, (p.x_train, torch.ones(9)), p.y_train, kernel="ntkgp"),
            ensemble((p.x_test, torch.ones(4))),
            {"net": p.net},
        ),
    }


CASES = ["posterior", "flow", "momentum", "axes", "cross_entropy", "callable", "ensemble", "nngp", "tuple"]


@pytest.mark.parametrize("how", ["torch", "safetensors"])
@pytest.mark.parametrize("name", CASES)
def test_round_trip(problem, monkeypatch, name, how):
    predictor, ask, needs = cases(problem)[name]
    expected = ask(predictor)
    state = predictor.state_dict()
    assert all(isinstance(value, torch.Tensor) and value.is_contiguous() for value in state.values())
    if how == "safetensors":
        safetensors = pytest.importorskip("safetensors.torch")
        loaded = safetensors.load(safetensors.save(state))
    else:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=True)
    factored = [key for key in state if key.startswith("factor.")]
    if factored:  # loading and asking costs no factorisation of what was factored before
        for function in ("eigh", "eigvalsh", "cholesky_ex"):
            monkeypatch.setattr(torch.linalg, function, lambda *_, **__: pytest.fail("factored again"))
    again = type(predictor).from_state_dict(loaded, **needs)
    for a, b in zip(ask(again), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert again.state_dict().keys() == state.keys()


@pytest.mark.parametrize("name", CASES)
def test_before_anything_was_factored(problem, name):
    predictor, ask, needs = cases(problem)[name]
    again = type(predictor).from_state_dict(predictor.state_dict(), **needs)
    for a, b in zip(ask(again), ask(predictor), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["posterior", "flow", "momentum", "callable"])
def test_to_another_dtype(problem, name):
    predictor, _, _ = cases(problem)[name]
    single = predictor.to(dtype=torch.float32)
    cross = problem.ntk(problem.x_test, problem.x_train)
    if name == "posterior":
        found, expected = single.at(cross.float()).mean, predictor.at(cross).mean
    else:
        found, expected = (f.at(2.0, k_test_train=k).test for f, k in ((single, cross.float()), (predictor, cross)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_ensembles_move_with_their_training_data(problem):
    p = problem
    ensemble = Ensemble(p.net, p.x_train, p.y_train, diag_reg=1e-3)
    expected = ensemble.at(5.0, p.x_test)
    calls = p.net.calls
    single = ensemble.to("cpu", torch.float32)
    assert p.net.calls == calls + 1  # two training points, to see that the network is the same
    for a, b in zip(single.at(5.0, p.x_test.float()), expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_to_another_device(problem):
    p = problem
    meta = GradientFlow(p.ntk(p.x_train, p.x_train), p.y_train).state_dict()
    from torchtangents.predict.persistence import HEADER, moved

    found = moved(meta, "meta", None)
    assert found.pop(HEADER).device.type == "cpu"
    assert {value.device.type for value in found.values()} == {"meta"}
    with pytest.raises(TypeError, match=r"dtype: expected a floating point type, got torch.int64"):
        moved(meta, None, torch.int64)


def test_saved_jitter(problem):
    p = problem
    x, y = torch.cat([p.x_train, p.x_train]), torch.cat([p.y_train, p.y_train])
    with pytest.warns(RuntimeWarning, match="jitter"):
        posterior = Posterior(p.ntk(x, x), y, jitter=True)
    again = Posterior.from_state_dict(posterior.state_dict())
    assert again.jitter_added == posterior.jitter_added > 0
    cross = p.ntk(p.x_test, x)
    torch.testing.assert_close(again.at(cross).mean, posterior.at(cross).mean, rtol=1e-12, atol=1e-12)


def test_a_state_does_not_share_memory(problem):
    p = problem
    flow = GradientFlow(p.ntk(p.x_train, p.x_train), p.y_train)
    before = flow.at(1.0).train
    for value in flow.state_dict().values():
        value.zero_()
    assert torch.equal(flow.at(1.0).train, before)


def test_refusals(problem, table):
    p = problem
    made = cases(p)
    states = {name: predictor.state_dict() for name, (predictor, _, _) in made.items()}
    with pytest.raises(ValueError, match="state_dict of a Posterior, got one of a GradientFlow; use GradientFlow"):
        Posterior.from_state_dict(states["flow"])
    with pytest.raises(ValueError, match="expected the state_dict of a GradientFlow, got dict without"):
        GradientFlow.from_state_dict({"k_train_train": torch.eye(2)})
    with pytest.raises(ValueError, match="got list without"):
        Posterior.from_state_dict([1])
    missing = {key: value for key, value in states["posterior"].items() if key != "y_train"}
    with pytest.raises(ValueError, match=r"state\['y_train'\]: expected a tensor, got nothing"):
        Posterior.from_state_dict(missing)
    wrong = states["posterior"] | {"factor.cholesky": torch.eye(3)}
    with pytest.raises(ValueError, match=r"state\['factor.cholesky'\]: expected shape \(9, 9\), got \(3, 3\)"):
        Posterior.from_state_dict(wrong)
    with pytest.raises(ValueError, match=r"y_train: expected shape \(9,\)"):
        Posterior.from_state_dict(states["posterior"] | {"y_train": p.y_train[:4]})
    with pytest.raises(ValueError, match=r"state\['ntk'\]: expected shape \(9, 9\)"):
        Ensemble.from_state_dict(states["ensemble"] | {"ntk": torch.eye(3)}, p.net)
    with pytest.raises(ValueError, match="the state has a callable; expected the callable that it was made with, got None"):
        GradientFlow.from_state_dict(states["callable"])
    with pytest.raises(ValueError, match="the state has mse; expected None"):
        GradientFlow.from_state_dict(states["flow"], loss=quartic)
    with pytest.raises(TypeError, match=r"expected tile, progress, backend or devices, got \['kernel'\]"):
        Ensemble.from_state_dict(states["ensemble"], p.net, kernel="nngp")
    pair = p.net.between(p.x_train, p.x_train)
    index = torch.arange(9.0, dtype=torch.float64)[:, None]
    saved = Ensemble(table(*pair), index, p.y_train).state_dict()
    with pytest.raises(ValueError, match=r"net: its ntk differs by .*the network that the ensemble was made with"):
        Ensemble.from_state_dict(saved, table(pair[0], 1.1 * pair[1]))
    with pytest.raises(TypeError, match="a state_dict holds tensors, and forward's arguments have str"):
        Ensemble(p.net, (p.x_train, "mode"), p.y_train).state_dict()


def test_another_version(problem, monkeypatch):
    import torchtangents.predict.persistence as persistence

    flow = GradientFlow(torch.eye(2), torch.ones(2))
    monkeypatch.setattr(persistence, "VERSION", 2)
    later = flow.state_dict()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="expected version 1, got 2"):
        GradientFlow.from_state_dict(later)
