"""Kernels of finite networks: any `torch.nn.Module`, at its present parameters."""

from .diagonal import diagonal as diagonal
from .diagonal import trace as trace
from .estimators import Eigenpairs as Eigenpairs
from .estimators import TraceEstimate as TraceEstimate
from .estimators import top_eigenpairs as top_eigenpairs
from .estimators import trace_estimate as trace_estimate
from .kernels import Kernels as Kernels
from .kernels import kernels as kernels
from .kernels import nngp as nngp
from .kernels import ntk as ntk
from .ntk_vp import ntk_vp as ntk_vp
from .operator import operator as operator
from .pseudo import pseudo_ntk as pseudo_ntk
from .sketch import Sketch as Sketch
from .sketch import features as features
