"""Regression with an infinitely wide network, as a scikit-learn estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .check import require_choice, require_number
from .ensemble import KERNELS
from .estimator import NetworkEstimator
from .gram import Gram
from .law import Law
from .network import NetworkKernels
from .regularizer import best_amplitude


class Regressor(MultiOutputMixin, RegressorMixin, NetworkEstimator):
    """Regression with the ensemble of infinitely wide networks, trained for a time `t`: a scikit-learn estimator.

    Predictions are those of `Ensemble(net, X, y, kernel=kernel).at(t, X_test)`: mean B y, where B = K* Q^-1 (I - e^{-Qs}),
    Q = K + diag_reg tr(K)/N I, s = learning_rate t / y.size, and its covariance. With kernel="nngp" and t=None this is exact
    inference with a Gaussian process, as scikit-learn's `GaussianProcessRegressor`. Standardise the features first (a
    pipeline with `StandardScaler`): the network sees their scale.

    Networks sqrt(a) as large, trained with learning rate / a, have the same mean and a times the covariance. `amplitude` is a.

    Args:
        net: a network of `torchtangents.nn` layers with one kernel entry a pair of inputs, or a callable without arguments
            that builds one. It is a template: never trained, never changed, and its weights do not matter. A first layer
            `LazyLinear` takes any number of features. None: three fully connected layers with ReLU, w_std = sqrt 2, b_std = 0.1.
        kernel: "ntkgp", all layers trained, with randomised priors, so that t=None is the Bayesian posterior of the NTK; "ntk",
            all layers trained: the same mean, but a spread that is that of the initialisations alone, which is no interval of
            confidence; "nngp", the last layer trained, at t=None the Bayesian posterior of the NNGP.
        diag_reg: regulariser relative to the mean of the kernel's diagonal, the variance of the noise; "evidence" or "loo"
            choose it by the marginal or the leave-one-out likelihood of a Gaussian process whose covariance is the kernel that
            drives the training, from one eigendecomposition (`regularizer.best_diag_reg`), which is some 20 times a solution.
        amplitude: a; "evidence" chooses it by the marginal likelihood of the same process, in closed form.
        t: training time in steps of gradient descent on 1/2 mean((f - y)^2); None is infinity.
        learning_rate: step size of gradient descent.
        normalize_y: centre each target and divide it by its standard deviation before training, and undo it after.
        input_shape: shape of one input of the network, as (3, 32, 32), where rows of X are flattened ones; None: the rows.
        dtype: "float32" or "float64", of the kernel; None takes that of X. Solves are in float64.
        batch_size: test points at a time; None: as many as keep the kernel with the training points within 2^24 entries.
        tile, progress, backend: as in `torchtangents.kernels`.

    Attributes:
        diag_reg_, amplitude_: the numbers in use.
        noise_variance_: of an observation, for each target: amplitude_ diag_reg_ tr(K)/N, in the units of y^2.
        net_: the network without its weights.
        n_features_in_, feature_names_in_: as in scikit-learn.

    Raises:
        UnsupportedError: the network has no kernel; names the layer.
        SingularKernelError: infinite time and a singular kernel; names a `diag_reg` that works.
        TypeError, ValueError: parameters out of range; NaN, infinity, or sizes that do not fit.

    Lee et al. 2018 (arXiv 1711.00165); Lee et al. 2019 (arXiv 1902.06720); Arora et al. 2020 (arXiv 1910.01663) on small data.

    Example:
        >>> import numpy as np, torchtangents as tt
        >>> X = np.linspace(-1, 1, 9)[:, None]
        >>> model = tt.predict.Regressor(diag_reg=1e-4).fit(X, np.sin(3 * X[:, 0]))
        >>> mean, std = model.predict(np.array([[0.], [3.]]), return_std=True)
        >>> bool(abs(mean[0]) < 0.01), bool(std[0] < 0.05 < std[1])
        (True, True)
    """

    def __init__(
        self,
        net: nn.Module | Callable[[], nn.Module] | None = None,
        *,
        kernel: str = "ntkgp",
        diag_reg: float | str = "evidence",
        amplitude: float | str = "evidence",
        t: float | None = None,
        learning_rate: float = 1.0,
        normalize_y: bool = True,
        input_shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        batch_size: int | None = None,
        tile: int | None = None,
        progress: bool | None = None,
        backend: str = "auto",
    ):
        self.net = net
        self.kernel = kernel
        self.diag_reg = diag_reg
        self.amplitude = amplitude
        self.t = t
        self.learning_rate = learning_rate
        self.normalize_y = normalize_y
        self.input_shape = input_shape
        self.dtype = dtype
        self.batch_size = batch_size
        self.tile = tile
        self.progress = progress
        self.backend = backend

    def fit(self, X: Any, y: Any) -> Regressor:
        """Compute the kernel of the training points, and `diag_reg_`.

        Args:
            X: (n_samples, n_features).
            y: (n_samples,) or (n_samples, n_targets).
        """
        require_choice("kernel", self.kernel, KERNELS)
        if self.amplitude != "evidence":
            require_number("amplitude", self.amplitude, positive=True)
        y = self._start(X, y, multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        self._y_mean = y.mean(0) if self.normalize_y else np.zeros(y.shape[1:])
        spread = y.std(0) if self.normalize_y else np.ones(y.shape[1:])
        self._y_std = np.where(spread > 10 * np.finfo(np.float64).eps * np.abs(y).max(0), spread, 1.0)  # constant targets
        target = torch.tensor((y - self._y_mean) / self._y_std, dtype=self.x_.dtype)
        options = {"tile": self.tile, "progress": self.progress, "backend": self.backend}
        kernels = NetworkKernels(self.net_, self.x_, options)
        driving = kernels.train.nngp if self.kernel == "nngp" else kernels.train.ntk
        self.diag_reg_ = self._regularizer(driving, target)
        gram = Gram(driving, self.diag_reg_)
        flat = target.double().reshape(gram.size, -1)  # (N, O)
        self._law = Law(kernels, gram, flat, self.kernel, self.learning_rate, "flow")
        if self.t is None:
            gram.cholesky  # noqa: B018  a singular kernel is refused here, not at the first prediction
        self.amplitude_ = best_amplitude(gram, flat) if isinstance(self.amplitude, str) else float(self.amplitude)
        noise = self.amplitude_ * self.diag_reg_ * gram.plain.diagonal().mean().item()
        self.noise_variance_ = noise * self._y_std**2
        return self

    def predict(self, X: Any, return_std: bool = False, return_cov: bool = False) -> Any:
        """The ensemble's mean, and its standard deviation or covariance, without noise.

        Args:
            X: (n_samples, n_features).
            return_std: also the standard deviation, of the mean's shape.
            return_cov: also the covariance (n_samples, n_samples), or (n_samples, n_samples, n_targets).

        Returns:
            mean (n_samples,) or (n_samples, n_targets); or (mean, std); or (mean, covariance).

        Raises:
            NotFittedError: before `fit`. ValueError: both of return_std and return_cov; X as in `fit`.
        """
        if return_std and return_cov:
            raise ValueError("expected at most one of return_std and return_cov, got both; the covariance holds the variances.")
        check_is_fitted(self)
        x = self._inputs(X)
        law = self._law._replace(kernels=copy.copy(self._law.kernels))  # keeps kernels of test points, which go with the copy
        clock, form = law.clock(self.t), "full" if return_cov else "diagonal"
        means, spreads = [], []
        for batch in (x,) if return_cov else self._batches(x):
            means.append(law.mean(clock, batch)[0])  # (M, O)
            if return_std or return_cov:
                spreads.append(law.covariance(batch, form)(clock.s))  # (M,) or (M, M)
        mean = torch.cat(means).numpy().reshape(-1, *self._y_std.shape) * self._y_std + self._y_mean
        if not spreads:
            return mean
        spread = self.amplitude_ * torch.cat(spreads).numpy()[..., None] * self._y_std.reshape(-1) ** 2  # (.., O)
        spread = spread if self._y_std.ndim else spread[..., 0]
        return mean, spread if return_cov else np.sqrt(spread)

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Draw functions of the ensemble, without noise, at X.

        Args:
            X: (n_test, n_features).
            n_samples: number of draws.
            random_state: a seed, a `numpy.random.RandomState`, or None.

        Returns:
            (n_test, n_samples), or (n_test, n_targets, n_samples).
        """
        mean, covariance = self.predict(X, return_cov=True)
        draw = check_random_state(random_state)
        flat, stacked = mean.reshape(len(mean), -1), covariance.reshape(*covariance.shape[:2], -1)
        outputs = []
        for i in range(flat.shape[1]):
            values, vectors = np.linalg.eigh(stacked[..., i].astype(np.float64))
            root = vectors * np.sqrt(values.clip(min=0))  # (M, M), root root^T = covariance
            outputs.append(flat[:, i, None] + root @ draw.standard_normal((len(flat), n_samples)))
        drawn = np.stack(outputs, 1)  # (M, O, S)
        return drawn[:, 0] if mean.ndim == 1 else drawn
