"""Kernels of finite networks: any `torch.nn.Module`, at its present parameters."""

from .kernels import Kernels, kernels, nngp, ntk

__all__ = ["Kernels", "kernels", "nngp", "ntk"]
