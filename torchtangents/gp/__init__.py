"""Infinitely wide networks as Gaussian processes of GPyTorch and BoTorch."""

from .ensemble_model import EnsembleModel as EnsembleModel
from .kernel import InfiniteWidthKernel as InfiniteWidthKernel

__all__ = ["EnsembleModel", "InfiniteWidthKernel"]
