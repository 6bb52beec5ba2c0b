"""Kernels and solves past one machine: stored, resumable, distributed."""

from .computing import compute, open
from .cost import Estimate
from .feature_maps import FeatureMap, Ridge, features, landmarks, nystrom
from .handle import Handle
from .measure import estimate
from .solution import ConvergenceError, Solution
from .solve import solve
from .store import Damage

__all__ = [
    "ConvergenceError",
    "Damage",
    "Estimate",
    "FeatureMap",
    "Handle",
    "Ridge",
    "Solution",
    "compute",
    "estimate",
    "features",
    "landmarks",
    "nystrom",
    "open",
    "solve",
]
