"""Tolerances, in one place."""

FLOAT32 = 1e-5  # |dk| / sqrt(k11 k22), against float64 (docs/architecture.md, "Precision")
FLOAT32_POOLED = 1e-4  # after interior pooling, and for parallel unequal inputs without bias
SAME = 1e-13  # two ways to one number in float64
EXACT = 1e-13  # closed identities in float64
QUADRATURE = 1e-8
