"""What kernels predict: Gaussian processes, gradient flow, and ensembles of infinitely wide networks over training."""

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
