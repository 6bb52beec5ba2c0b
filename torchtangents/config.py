"""What is installed and which backends compute."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from . import native


def installed(package: str) -> str:
    """A package's version, or 'not installed'.

    Example:
        >>> from torchtangents.config import installed
        >>> installed("no-such-package")
        'not installed'
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def show_config() -> str:
    """Versions, backends and threads, one line each.

    Example:
        >>> import torchtangents as tt
        >>> "reference" in tt.show_config()
        True
    """
    packages = ("torchtangents", "torch", "numpy", "scipy", "gpytorch", "linear_operator", "torchdiffeq", "triton")
    lines = [f"{'python':16}{platform.python_version()}", *(f"{p:16}{installed(p)}" for p in packages)]
    compiled = "built" if native.available() else "not built (no compiler at install time): torch serves instead"
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "no device"
    lines += [
        "backends:",
        f"  {'reference':14}active: every rule, on any device of torch",
        f"  {'csrc':14}{compiled}; input distances only",
        f"  {'cuda':14}{cuda}",
        f"{'threads':16}{torch.get_num_threads()}",
    ]
    return "\n".join(lines)
