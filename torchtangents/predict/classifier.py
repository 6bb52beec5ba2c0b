"""Classification with an infinitely wide network, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .check import require_choice
from .classification import Task, find
from .classification.task import KERNELS
from .estimator import NetworkEstimator


class Classifier(ClassifierMixin, NetworkEstimator):
    """Classification with an infinitely wide network, with probabilities: a scikit-learn estimator.

    Four methods learn from the network's kernel K; `torchtangents.predict.classification` has the formula of each:

    - "regression": softmax(f / T), f the mean of networks trained on centred one-hot targets, T by leave-one-out. The fastest.
    - "cross_entropy": softmax(f(t)), f(t) the gradient flow of the softmax cross-entropy; t=None stops early.
    - "dirichlet": Gaussian processes on the logarithms of Dirichlet counts, exact; knows what it does not know.
    - "variational": a sparse variational Gaussian process with the softmax likelihood; learns the network's standard deviations
      too, and takes any number of samples.

    Standardise or scale the features first: the network sees their scale.

    Args:
        net, input_shape, dtype, batch_size, tile, progress, backend: as in `Regressor`.
        method: one of the above.
        kernel: "ntk", all layers trained, or "nngp", the last layer trained.
        diag_reg: regulariser relative to the mean of the kernel's diagonal, or "evidence" or "loo" as in `Regressor`, of the
            centred one-hot targets; "variational" does not use it.
        t, learning_rate: training time and step size, of "regression" (None: infinity) and "cross_entropy" (None: stops early).
        temperature: T of "regression"; None: by leave-one-out.
        alpha_epsilon: of "dirichlet", the count of every class before any data; None: by leave-one-out.
        n_inducing, n_steps: inducing points and steps of Adam of "variational".
        random_state: seed of what is drawn: folds, Sobol points, inducing points.

    Attributes:
        classes_: the labels, sorted.
        method_: what the method has learned.
        temperature_: T of "regression", 1 for the others.
        net_, n_features_in_, feature_names_in_: as in `Regressor`.

    Raises:
        UnsupportedError: the network has no kernel; names the layer.
        SingularKernelError: infinite time and a singular kernel; names a `diag_reg` that works.
        TypeError, ValueError: parameters out of range; one class only; NaN, infinity, or sizes that do not fit.

    Lee et al. 2020 (arXiv 2007.15801); Lee et al. 2019 (arXiv 1902.06720); Milios et al. 2018 (arXiv 1805.10915); Hensman,
    Matthews and Ghahramani 2015 (arXiv 1411.2005).

    Example:
        >>> import torchtangents as tt
        >>> X, y = [[-1., 0.], [-2., 1.], [1., 0.], [2., 1.]], ["left", "left", "right", "right"]
        >>> model = tt.predict.Classifier().fit(X, y)
        >>> model.predict([[-1.5, 0.]]), model.predict_proba([[-1.5, 0.]]).shape
        (array(['left'], dtype='<U5'), (1, 2))
    """

    def __init__(
        self,
        net: nn.Module | Callable[[], nn.Module] | None = None,
        *,
        method: str = "regression",
        kernel: str = "ntk",
        diag_reg: float | str = 1e-3,
        t: float | None = None,
        learning_rate: float = 1.0,
        temperature: float | None = None,
        alpha_epsilon: float | None = None,
        n_inducing: int = 100,
        n_steps: int = 200,
        random_state: Any = 0,
        input_shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        batch_size: int | None = None,
        tile: int | None = None,
        progress: bool | None = None,
        backend: str = "auto",
    ):
        self.net = net
        self.method = method
        self.kernel = kernel
        self.diag_reg = diag_reg
        self.t = t
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.alpha_epsilon = alpha_epsilon
        self.n_inducing = n_inducing
        self.n_steps = n_steps
        self.random_state = random_state
        self.input_shape = input_shape
        self.dtype = dtype
        self.batch_size = batch_size
        self.tile = tile
        self.progress = progress
        self.backend = backend

    def fit(self, X: Any, y: Any) -> Classifier:
        """Learn from X (n_samples, n_features) and the labels y (n_samples,), numbers or strings."""
        require_choice("kernel", self.kernel, KERNELS)
        method = find(self.method)
        y = self._start(X, y)
        check_classification_targets(y)
        encoder = LabelEncoder().fit(y)
        self.classes_ = np.asarray(encoder.classes_)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected at least two classes, got one class, {self.classes_[0]!r}; add samples of another.")
        labels = torch.tensor(encoder.transform(y))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        options = {"tile": self.tile, "progress": self.progress, "backend": self.backend}
        task = Task(self.net_, self.kernel, self.x_, labels, len(self.classes_), seed, options)
        self.method_ = method.learn(task, self)
        self.temperature_ = getattr(self.method_, "temperature", 1.0)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest label of each row of X (n_samples, n_features): (n_samples,)."""
        check_is_fitted(self)
        return np.asarray(self.classes_)[self.predict_log_proba(X).argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of `classes_`: (n_samples, n_classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of `predict_proba`."""
        check_is_fitted(self)
        return torch.cat([self.method_.log_probabilities(x) for x in self._batches(self._inputs(X))]).numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """Log probabilities (n_samples, n_classes); of two classes the log odds of the second, (n_samples,)."""
        scores = self.predict_log_proba(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores
