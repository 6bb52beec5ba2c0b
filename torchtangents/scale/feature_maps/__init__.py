"""Explicit features whose inner products approximate a kernel, and regression on them: linear in the number of inputs.

The room is not called `features`, because a module of that name would hide the function `tt.scale.features`.
"""

from .feature_map import FeatureMap as FeatureMap
from .inducing import NystromFeatures as NystromFeatures
from .inducing import landmarks as landmarks
from .inducing import nystrom as nystrom
from .network import NetworkFeatures as NetworkFeatures
from .network import features as features
from .ridge import Ridge as Ridge

__all__ = ["FeatureMap", "NetworkFeatures", "NystromFeatures", "Ridge", "features", "landmarks", "nystrom"]
