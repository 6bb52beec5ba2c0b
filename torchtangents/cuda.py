"""Whether Triton's kernels can run: on CUDA, or interpreted on the CPU (TRITON_INTERPRET=1), which is for tests."""

from __future__ import annotations

import importlib.util
import os

LEAST = (3, 6)  # of triton: the kernels have not run on a GPU with any before


def interpreted() -> bool:
    """Whether Triton reads kernels in place of compiling them.

    Example:
        >>> from torchtangents.cuda import interpreted
        >>> isinstance(interpreted(), bool)
        True
    """
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_not() -> str | None:
    """Why they cannot; None if they can.

    Example:
        >>> from torchtangents.cuda import why_not
        >>> why_not() is None or "triton" in why_not() or "CUDA" in why_not()
        True
    """
    if importlib.util.find_spec("triton") is None:
        return 'the package triton is not installed; pip install "torchtangents[triton]"'
    import torch

    if not interpreted() and not torch.cuda.is_available():
        return "torch sees no CUDA device"
    import triton

    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < LEAST:
        return f"expected triton {LEAST[0]}.{LEAST[1]} or later, got {triton.__version__}; pip install -U triton"
    return None
