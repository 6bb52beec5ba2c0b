"""What is installed and which backends compute."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from . import native

PACKAGES = ("torch", "numpy", "scipy", "gpytorch", "linear_operator", "torchdiffeq", "triton")


class Config(str):
    """Text that a notebook or a prompt shows as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def installed(package: str, default: str = "not installed") -> str:
    """A package's version, found without importing it.

    Example:
        >>> from torchtangents.config import installed
        >>> installed("no-such-package")
        'not installed'
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return default


def show_config() -> Config:
    """Versions, backends and threads, one line each.

    Example:
        >>> import torchtangents as tt
        >>> "reference" in tt.show_config()
        True
    """
    compiled = f"active: {native.instructions()[0]} instructions" if native.available() else native.why_not()
    cuda = torch.cuda.is_available()
    devices = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) if cuda else "no device"
    versions = {"torchtangents": installed("torchtangents", "0.1.0.dev0"), "python": platform.python_version()}
    versions |= {package: installed(package) for package in PACKAGES}
    backends = {"reference": "active: every rule, on any device of torch", "cpu": compiled, "cuda": devices}
    rows = [*versions.items(), ("backends", ""), *((f"  {k}", v) for k, v in backends.items())]
    rows.append(("threads", str(torch.get_num_threads())))
    return Config("\n".join(f"{name:17}{value}".rstrip() for name, value in rows))
