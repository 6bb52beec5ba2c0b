"""`torchtangents kernel`: a stored kernel from the command line. Loads what it names, says what it will cost, computes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .loading import CommandError, load_data, load_model

PACKAGES = ("zarr", "numcodecs", "dask", "distributed", "psutil", "google_crc32c", "filelock", "cloudpickle")
_EPILOG = """\
The model, data and options of a store are kept in it: --resume needs no others. Exit status: 0 done, 1 error or damage, 2 wrong
usage, 130 interrupted (what is computed stays stored)."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `torchtangents kernel`."""
    parser.description, parser.epilog = (
        "Compute the NNGP and NTK of a model into a zarr store, in tiles, and continue it.",
        _EPILOG,
    )
    what = parser.add_argument_group("what to compute")
    what.add_argument("--model", type=_spec, metavar="MODULE:NAME", help="a torch.nn.Module, or a function that returns one")
    what.add_argument("--data", type=Path, metavar="FILE", help="inputs, .npy or .zarr")
    what.add_argument("--data2", type=Path, metavar="FILE", help="other inputs, for x1 with x2")
    what.add_argument("--kinds", nargs="+", choices=("nngp", "ntk"), help="default: both")
    what.add_argument("--tile", type=_count, metavar="N", help="inputs on a side of a tile (default: some seconds of work)")
    what.add_argument("--backend", choices=("auto", "reference", "cpu", "triton"), help="as in tt.ntk (default: auto)")
    what.add_argument("--append", action="store_true", help="the data are longer than those of the store, and begin alike")
    where = parser.add_argument_group("where")
    where.add_argument("--out", type=Path, required=True, metavar="STORE", help="the folder of the store, e.g. k.zarr")
    where.add_argument("--device", nargs="+", metavar="NAME", help="cuda, or several (cuda:0 cuda:1): a process each")
    where.add_argument("--processes", type=_count, metavar="N", help="processes on this machine")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster, e.g. tcp://10.0.0.1:8786")
    how = parser.add_argument_group("how")
    how.add_argument("--resume", action="store_true", help="continue, or repair, the store")
    how.add_argument("--verify", action="store_true", help="read every tile and list those that are missing or damaged")
    how.add_argument("--estimate", action="store_true", help="only say what it will cost")
    how.add_argument("--seconds", type=_seconds, default=10.0, metavar="S", help="to measure at most (%(default)s)")
    how.add_argument("--no-estimate", action="store_true", help="begin at once")
    how.add_argument("-y", "--yes", action="store_true", help="do not ask before it starts (only a terminal is asked)")
    how.add_argument("-q", "--quiet", action="store_true", help="no progress bar and no estimate")


def kernel(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the command; returns the exit status."""
    _check(options, parser)
    try:
        if options.verify:
            return _verify(options)
        return _compute(options)
    except KeyboardInterrupt:
        kept = f"; torchtangents kernel --resume --out {options.out} continues" if options.out.exists() else ""
        print(f"\ninterrupted{kept}", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        print(
            f'Stored kernels need {error.name}: pip install -c constraints.txt ".[scale]" (Python 3.11 or later)', file=sys.stderr
        )
        return 1
    except (CommandError, ImportError, OSError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        print(f"torchtangents kernel: {error}{notes}", file=sys.stderr)
        return 1


def _compute(options: argparse.Namespace) -> int:
    from .computing import compute

    given = _stored(options) if options.resume else _asked(options)
    model, (x1, x2) = load_model(given["model"], given["folder"]), _inputs(given)
    devices = options.device if options.device is not None else given["device"]
    devices = devices[0] if devices is not None and len(devices) == 1 else devices
    common = {"kinds": given["kinds"], "tile": given["tile"], "backend": given["backend"]}
    if options.estimate or not (options.no_estimate or options.quiet):
        print(_estimated(options, model, x1, x2, devices, common), file=sys.stdout if options.estimate else sys.stderr)
        if options.estimate:
            return 0
        if not _agreed(options):
            return 1
    attributes = {name: given[name] for name in ("model", "folder", "data", "data2", "device")}
    with _client(options.scheduler, given["model"]) as client:
        handle = compute(
            model, x1, x2, options.out, client=client, devices=devices, progress=not options.quiet, attributes=attributes,
            append=options.append, processes=options.processes, **common,
        )  # fmt: skip
    print(handle)
    return 0


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says, with paths that hold in any folder."""
    if not options.out.absolute().parent.is_dir():
        raise CommandError(f"--out {options.out}: no folder {options.out.absolute().parent}; make it first")
    return {
        "model": options.model, "folder": str(Path.cwd()), "data": str(options.data.absolute()),
        "data2": None if options.data2 is None else str(options.data2.absolute()),
        "kinds": tuple(options.kinds or ("nngp", "ntk")),
        "tile": options.tile, "backend": options.backend or "auto", "device": options.device,
    }  # fmt: skip


def _stored(options: argparse.Namespace) -> dict[str, Any]:
    """What the store says."""
    from .computing import open

    handle = open(options.out)
    found = handle.attributes
    missing = [name for name in ("model", "folder", "data") if name not in found]
    if missing:
        raise CommandError(
            f"--resume: {options.out} was not made by this command (its attributes lack {', '.join(missing)}); call "
            "tt.scale.compute with its model and data"
        )
    backend = handle.store.manifest.backend
    return {"data2": None, "device": None, **found, "kinds": handle.kinds, "tile": handle.tile, "backend": backend}


def _inputs(given: dict[str, Any]) -> tuple[Any, Any]:
    return load_data(given["data"]), None if given["data2"] is None else load_data(given["data2"], "--data2")


def _estimated(options: argparse.Namespace, model: Any, x1: Any, x2: Any, devices: Any, common: dict[str, Any]) -> str:
    """The table; where a store has a part already, what is left."""
    from .computing import open
    from .cost import lasting
    from .measure import estimate

    first = devices[0] if isinstance(devices, list) else devices
    parent = options.out.absolute().parent
    found = estimate(model, x1, x2, seconds=options.seconds, device=first, folder=parent, **common)
    lines = [str(found)]
    if (options.out / "zarr.json").exists():
        done = open(options.out).progress
        lines.append(f"{'stored':12}{done:.1%}; the rest takes about {lasting((1 - done) * found.seconds())} in one process")
    return "\n".join(lines)


def _agreed(options: argparse.Namespace) -> bool:
    """Whether the person at the terminal, if there is one, wants to go on."""
    if options.yes or not sys.stdin.isatty():
        return True
    print("Begin? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def _verify(options: argparse.Namespace) -> int:
    from .computing import open

    handle = open(options.out)
    damaged = handle.verify(progress=not options.quiet)
    for tile, reason in damaged:
        print(f"tile {tile[0]},{tile[1]}: {reason}")
    if damaged:
        print(
            f"{len(damaged):,} of {handle.store.grid.count:,} tiles are missing or damaged; torchtangents kernel --resume --out "
            f"{options.out} computes them"
        )
        return 1
    print(f"all {handle.store.grid.count:,} tiles are whole")
    return 0


@contextmanager
def _client(address: str | None, spec: str) -> Iterator[Any]:
    """A client of a cluster, whose workers get the code of the model's own file with the task; None without an address."""
    if address is None:
        yield None
        return
    import cloudpickle
    from distributed import Client

    module = sys.modules[spec.split(":")[0]]
    cloudpickle.register_pickle_by_value(module)
    try:
        with Client(address, timeout="10s") as client:
            yield client
    except OSError as error:
        if "Timed out" in str(error):
            raise CommandError(f"--scheduler {address}: no answer in 10 seconds ({error})") from error
        raise
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Options that do not go together: exit status 2."""
    given = [name for name in ("model", "data", "data2", "kinds", "tile", "backend") if getattr(options, name) is not None]
    if options.resume and options.verify:
        parser.error("expected --resume or --verify, got both")
    if options.resume or options.verify:
        if given or options.append:
            what = ", ".join(f"--{name}" for name in [*given, *["append"] * options.append])
            parser.error(f"expected no {what} with --{'resume' if options.resume else 'verify'}: the store says that")
    elif missing := [name for name in ("model", "data") if getattr(options, name) is None]:
        parser.error(f"expected {' and '.join(f'--{name}' for name in missing)}, or --resume, or --verify")
    if options.scheduler and options.processes:
        parser.error("expected --scheduler or --processes, got both: the workers of a cluster are its processes")
    if options.scheduler and options.device and len(options.device) > 1:
        parser.error("expected one --device with --scheduler: each worker computes on the device of that name")


def _spec(text: str) -> str:
    path, colon, name = text.partition(":")
    if not colon or not all(part.isidentifier() for part in (*path.split("."), *name.split("."))):
        raise argparse.ArgumentTypeError(f"expected package.file:name, e.g. models:net, got {text!r}")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text!r}")
    return value
