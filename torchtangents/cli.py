"""The command line: `torchtangents info` and `torchtangents demo`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

PARTS = ("ensemble", "gaussian", "digits")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Example:
        >>> from torchtangents.cli import main
        >>> main([])
        2
    """
    parser = argparse.ArgumentParser(prog="torchtangents", description="Kernels of infinitely wide networks.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("info", help="versions and active backends")
    demo = commands.add_parser("demo", help="two pictures and a table, on this machine")
    demo.add_argument("--out", type=Path, default=Path("torchtangents-demo"), help="folder for PNG, GIF and CSV")
    demo.add_argument("--only", choices=PARTS, help="one part only")
    demo.add_argument("--quick", action="store_true", help="small sizes, for a first look")
    options = parser.parse_args(argv)
    if options.command == "info":
        from .config import show_config

        print(show_config())
        return 0
    if options.command == "demo":
        return _demo(options)
    import sys

    parser.print_usage(sys.stderr)
    return 2


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import run
    except ImportError as error:
        print(f'The demo needs {error.name}: pip install -c constraints.txt ".[demo]"')
        return 1
    run(options.out, only=options.only, quick=options.quick)
    return 0
