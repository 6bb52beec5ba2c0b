"""What kernels predict: Gaussian processes, gradient flow, and ensembles of infinitely wide networks over training."""

from .ensemble import Ensemble as Ensemble
from .flow import GradientFlow as GradientFlow
from .learning_rate import max_learning_rate as max_learning_rate
from .path import FlowState as FlowState
from .posterior import Posterior as Posterior
from .prediction import Flow as Flow
from .prediction import Loss as Loss
from .prediction import Prediction as Prediction
from .singular import JitterWarning as JitterWarning
from .singular import SingularKernelError as SingularKernelError
