"""What the command line names: a model as module:name, and data in files."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch


class CommandError(Exception):
    """What is wrong with a command, in words for the person who typed it."""


def load_model(spec: str, folder: str | Path = ".") -> torch.nn.Module:
    """The module that `package.file:name` names, or that the function of that name returns.

    Args:
        spec: the module's import path, a colon, and the (dotted) name in it.
        folder: where imports look first.

    Raises:
        CommandError: no such file or name, the import fails, or what it names is not a module nor a function that returns one.
    """
    path, name = spec.split(":")
    found: Any = _imported(path, Path(folder).absolute())
    for part in name.split("."):
        if not hasattr(found, part):
            known = ", ".join(k for k in vars(found) if not k.startswith("_")) if isinstance(found, ModuleType) else ""
            raise CommandError(f"--model {spec}: {path} has no {name}" + (f"; it has {known}" if known else ""))
        found = getattr(found, part)
    if not isinstance(found, torch.nn.Module) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise CommandError(f"--model {spec}: {name}() failed: {_told(error)}") from error
        name += "()"
    if not isinstance(found, torch.nn.Module):
        raise CommandError(
            f"--model {spec}: expected a torch.nn.Module, or a function without arguments that returns one, got "
            f"{type(found).__name__} from {name}"
        )
    return found


def load_data(path: str | Path, option: str = "--data") -> Any:
    """Inputs by slices: a memmap of a .npy file, or a zarr array.

    Raises:
        CommandError: no such file, or not one array of numbers.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".zarr"):
        raise CommandError(f"{option} {path}: expected a .npy file or a .zarr array; numpy.save writes the first")
    if not path.exists():
        raise CommandError(f"{option} {path}: no such file in {Path.cwd()}")
    if path.suffix == ".npy":
        try:
            return np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise CommandError(f"{option} {path}: not an array that numpy can map into memory ({error})") from error
    import zarr

    try:
        return zarr.open_array(str(path), mode="r")
    except Exception as error:  # zarr raises many types of its own
        raise CommandError(f"{option} {path}: expected a zarr array, not a group or another folder ({_told(error)})") from error


def _imported(path: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(error.name + ".")):
            raise CommandError(
                f"--model: no module {error.name!r}; expected a file {path.replace('.', '/')}.py in {folder}"
            ) from error
        raise CommandError(f"--model: importing {path} failed: {_told(error)}") from error
    except Exception as error:
        raise CommandError(f"--model: importing {path} failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    """An error with the place where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
