"""The estimators in scikit-learn's world: its own checks, clones, pickles, searches, pipelines; and life without it."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_diabetes, load_wine
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import torchtangents as tt
from torchtangents.predict import Classifier, Regressor

pytestmark = pytest.mark.slow

QUICK = {"n_steps": 20, "n_inducing": 20}
QUICKEST = [Regressor(), Classifier(), Classifier(method="dirichlet", alpha_epsilon=0.01)]
OTHERS = [
    Regressor(kernel="ntk", diag_reg=0.1),
    Regressor(kernel="nngp", diag_reg="loo", t=100.0),
    Classifier(kernel="nngp", t=100.0, diag_reg="evidence"),
    Classifier(method="cross_entropy", t=0.01),  # on unscaled features the whole flow is stiff
    Classifier(method="dirichlet"),
    Classifier(method="variational", **QUICK),
]


@parametrize_with_checks(QUICKEST)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(OTHERS)
def test_scikit_learns_checks_of_the_others(estimator, check):
    check(estimator)


def network(width=4):
    return torch.nn.Sequential(tt.nn.LazyLinear(width, w_std=1.5), tt.nn.Erf(), tt.nn.Linear(width, 1))


def built():
    return network()


FITTED = [
    Regressor(network(), kernel="ntk"),
    Regressor(built, kernel="nngp", t=10.0),
    Classifier(network()),
    Classifier(network(), method="cross_entropy", t=100.0),
    Classifier(built, method="dirichlet", alpha_epsilon=0.01),
    pytest.param(Classifier(network(), method="variational", **QUICK), marks=pytest.mark.slow),
]


def problem():
    draw = np.random.RandomState(0)
    x = draw.randn(24, 3)
    return x, np.arange(24) % 3


@pytest.mark.parametrize("estimator", FITTED)
def test_clones_and_pickles(estimator, tmp_path):
    x, y = problem()
    twin = clone(estimator)
    assert (twin.net is estimator.net) == (estimator.net is built)  # a module is copied, a function is not
    assert twin.get_params().keys() == estimator.get_params().keys()
    ask = "predict_proba" if is_classifier(estimator) else "predict"
    wanted = getattr(twin.fit(x, y), ask)(x)
    np.testing.assert_array_equal(getattr(clone(estimator).fit(x, y), ask)(x), wanted)
    np.testing.assert_array_equal(getattr(pickle.loads(pickle.dumps(twin)), ask)(x), wanted)
    joblib.dump(twin, tmp_path / "model.joblib")
    np.testing.assert_array_equal(getattr(joblib.load(tmp_path / "model.joblib"), ask)(x), wanted)


def test_clones_of_learnable_hyperparameters():
    x, y = problem()
    net = torch.nn.Sequential(
        tt.nn.LazyLinear(3, w_std=torch.tensor(1.5, requires_grad=True) * 1), tt.nn.ReLU(), tt.nn.Linear(3, 1)
    )
    model = clone(Regressor(net)).fit(x, y)
    np.testing.assert_allclose(model.predict(x), Regressor(net).fit(x, y).predict(x))


def test_kinds():
    assert is_regressor(Regressor())
    assert not is_classifier(Regressor())
    assert is_classifier(Classifier())
    assert "kernel='nngp'" in repr(Regressor(kernel="nngp"))
    assert Regressor().set_params(kernel="nngp", diag_reg=0.1).get_params()["diag_reg"] == 0.1
    with pytest.raises(ValueError, match="Invalid parameter"):
        Regressor().set_params(depth=3)


def test_regression_search():
    x, y = load_diabetes(return_X_y=True)
    x, y = x[:150], y[:150]
    pipeline = make_pipeline(StandardScaler(), Regressor())
    grid = {
        "regressor__kernel": ["nngp", "ntkgp"],
        "regressor__net": [None, network(), built],
        "regressor__diag_reg": [1e-8, 1.0],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(x, y)
    assert len(search.cv_results_["params"]) == 12
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["regressor__diag_reg"] == 1.0  # the data are noisy
    assert search.best_score_ > 0.35
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.3  # the evidence finds it too


@pytest.mark.parametrize("method", ["regression", "cross_entropy", "dirichlet"])
def test_classification_search(method):
    x, y = load_wine(return_X_y=True)
    x, y = x[::2], y[::2]
    pipeline = make_pipeline(StandardScaler(), Classifier(method=method, alpha_epsilon=1e-3))
    search = GridSearchCV(pipeline, {"classifier__kernel": ["ntk", "nngp"]}, cv=3, scoring="neg_log_loss", n_jobs=1).fit(x, y)
    assert search.best_score_ > -0.3
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.93


def test_several_outputs():
    x, y = problem()
    both = np.stack([x[:, 0], x[:, 1] ** 2], 1)
    assert Regressor(diag_reg=1e-6).fit(x, both).score(x, both) > 0.9
    labels = np.stack([y, y == 1], 1)
    assert MultiOutputClassifier(Classifier()).fit(x, labels).predict(x).shape == (24, 2)


def test_names_of_features():
    pandas = pytest.importorskip("pandas", reason="only data frames have names")
    x, y = problem()
    frame = pandas.DataFrame(x, columns=["a", "b", "c"])
    model = Regressor().fit(frame, y)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c"]])


def run(code, elsewhere):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **elsewhere)
    assert done.returncode == 0, done.stderr


def test_import_does_not_need_scikit_learn(elsewhere):
    run(
        "import sys, torchtangents as tt\n"
        "heavy = {'sklearn', 'scipy.optimize', 'gpytorch', 'linear_operator'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert {'Classifier', 'Regressor', 'Ensemble'} <= set(dir(tt.predict))\n"
        "assert 'sklearn' not in sys.modules\n"
        "tt.predict.Regressor; tt.predict.Classifier\n"
        "assert 'sklearn' in sys.modules\n"
        "assert 'gpytorch' not in sys.modules",
        elsewhere,
    )


@pytest.mark.parametrize("name", ["Classifier", "Regressor"])
def test_without_scikit_learn_the_error_names_the_remedy(name, elsewhere):
    run(
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "import torchtangents as tt\n"
        "try:\n"
        f"    tt.predict.{name}\n"
        "except ImportError as error:\n"
        f"    assert 'tt.predict.{name} needs scikit-learn' in str(error) and 'pip install' in str(error), error\n"
        "else:\n"
        "    raise AssertionError('no error')",
        elsewhere,
    )


def test_other_names_are_unknown():
    with pytest.raises(AttributeError, match="no attribute 'Clusterer'"):
        tt.predict.Clusterer  # noqa: B018
