"""Benchmarks: kernels of this library against its peers, side by side in one run."""
