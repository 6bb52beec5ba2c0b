"""The command line: `torchtangents info`, `torchtangents demo` and `torchtangents kernel`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

PARTS = ("ensemble", "gaussian", "digits")
DEMO_PACKAGES = ("matplotlib", "sklearn", "PIL")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args:
        argv: the words after `torchtangents`; None takes them from the command line.

    Raises:
        SystemExit: an unknown command or option.

    Example:
        >>> from torchtangents.cli import main
        >>> main([])
        2
    """
    parser, kernels = _parser()
    options = parser.parse_args(argv)
    if options.command == "info":
        from .config import show_config

        print(show_config())
        return 0
    if options.command == "demo":
        return _demo(options)
    if options.command == "kernel":
        from .scale.command import kernel

        return kernel(options, kernels)
    parser.print_usage(sys.stderr)
    return 2


def _parser() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser, and that of `kernel`, which also checks what goes together."""
    from .scale.command import add_options

    parser = argparse.ArgumentParser(prog="torchtangents", description="Kernels of infinitely wide networks.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("info", help="versions and active backends")
    demo = commands.add_parser("demo", help="two pictures and a table, on this machine")
    demo.add_argument("--out", type=Path, default=Path("torchtangents-demo"), help="folder for PNG, GIF and CSV (%(default)s)")
    demo.add_argument("--only", choices=PARTS, help="one part only")
    demo.add_argument("--quick", action="store_true", help="small sizes, for a first look")
    kernels = commands.add_parser("kernel", help="a kernel of any size, stored and resumable")
    add_options(kernels)
    return parser, kernels


def _demo(options: argparse.Namespace) -> int:
    try:
        from .demo import run

        run(out=options.out, only=options.only, quick=options.quick)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in DEMO_PACKAGES:
            raise
        print(f'The demo needs {error.name}: pip install -c constraints.txt ".[demo]"', file=sys.stderr)
        return 1
    return 0
