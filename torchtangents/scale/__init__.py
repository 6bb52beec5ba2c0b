"""Kernels and solves past one machine: stored, resumable, distributed."""

from .compute import compute, open
from .handle import Handle
from .store import Damage

__all__ = ["Damage", "Handle", "compute", "open"]
