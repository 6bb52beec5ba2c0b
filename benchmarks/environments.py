"""Environments of peers: `python -m benchmarks.environments NAME` makes one from its pinned requirements."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
FOLDER = "TORCHTANGENTS_PEERS"


def names() -> list[str]:
    """The environments that can be made."""
    return sorted(path.stem for path in REQUIREMENTS.glob("*.txt"))


def folder(name: str) -> Path:
    """Where an environment lies: under $TORCHTANGENTS_PEERS, or the user's cache."""
    default = Path.home() / ".cache" / "torchtangents-benchmarks"
    return Path(os.environ.get(FOLDER) or default) / name


def interpreter(name: str | None) -> str | None:
    """The Python of an environment, None if it was not made; without a name, this one."""
    if name is None:
        return sys.executable
    for path in (folder(name) / "bin" / "python", folder(name) / "Scripts" / "python.exe"):
        if path.exists():
            return str(path)
    return None


def make(name: str, python: str = sys.executable) -> Path:
    """Create an environment and install its requirements; nothing is left of one that fails."""
    path = folder(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([python, "-m", "venv", str(path)], check=True)
        install = [str(interpreter(name)), "-m", "pip", "install", "-r", str(REQUIREMENTS / f"{name}.txt")]
        subprocess.run(install, check=True)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environments", description=__doc__)
    parser.add_argument("name", choices=names())
    parser.add_argument("--python", default=sys.executable, help="interpreter to make it with (jaxlib 0.4.23 needs 3.9 to 3.12)")
    options = parser.parse_args(arguments)
    if interpreter(options.name):
        print(f"{folder(options.name)} is there already; delete it to make it anew")
        return 0
    try:
        print(f"made {make(options.name, options.python)}")
    except subprocess.CalledProcessError as error:
        print(f"{options.name}: {error}; its requirements are in {REQUIREMENTS.name}/{options.name}.txt", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
