"""Pictures of predictions and kernels, on axes of matplotlib (which is imported only when one is drawn)."""

from .bands import function_bands as function_bands
from .bands import loss_bands as loss_bands
from .bands import output_bands as output_bands
from .matrices import kernel_matrix as kernel_matrix
from .matrices import spectrum as spectrum
