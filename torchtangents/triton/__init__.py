"""The compiled backend on CUDA: segments of a program as Triton kernels. Imported where it is used; needs the package triton."""
