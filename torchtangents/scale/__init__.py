"""Kernels and solves past one machine: stored, resumable, distributed."""
