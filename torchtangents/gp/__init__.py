"""Infinitely wide networks as Gaussian processes of GPyTorch and BoTorch."""

from .kernel import InfiniteWidthKernel as InfiniteWidthKernel

__all__ = ["InfiniteWidthKernel"]
