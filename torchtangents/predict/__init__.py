"""What kernels predict: Gaussian processes, gradient flow, and ensembles of infinitely wide networks over training."""

from typing import TYPE_CHECKING, Any

from .calibration import expected_calibration_error as expected_calibration_error
from .calibration import temperature as temperature
from .ensemble import Ensemble as Ensemble
from .evidence import leave_one_out_log_density as leave_one_out_log_density
from .evidence import log_marginal_likelihood as log_marginal_likelihood
from .fit import fit as fit
from .fitted import Fit as Fit
from .flow import GradientFlow as GradientFlow
from .learning_rate import max_learning_rate as max_learning_rate
from .path import FlowState as FlowState
from .posterior import Posterior as Posterior
from .prediction import Flow as Flow
from .prediction import Loss as Loss
from .prediction import Prediction as Prediction
from .singular import JitterWarning as JitterWarning
from .singular import SingularKernelError as SingularKernelError
from .spectrum import alignment as alignment
from .spectrum import effective_dimension as effective_dimension
from .spectrum import spectrum as spectrum

if TYPE_CHECKING:
    from .classifier import Classifier as Classifier
    from .regressor import Regressor as Regressor

_ESTIMATORS = {"Classifier": "classifier", "Regressor": "regressor"}  # need scikit-learn, which is an extra


def __getattr__(name: str) -> Any:
    if name not in _ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f".{_ESTIMATORS[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        raise ImportError(
            f"tt.predict.{name} needs scikit-learn, which is not installed; pip install 'torchtangents[sklearn]'", name="sklearn"
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_ESTIMATORS])
