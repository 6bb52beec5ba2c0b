"""`python -m benchmarks`: cases against peers, a table, and JSON.

See benchmarks/README.md for what is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import machine, report
from .cases import SUITES, Case, selected
from .measure import Bench, Effort
from .peers import PEERS

BUSY = 0.5  # processes already running, from where a warning is due


def parser() -> argparse.ArgumentParser:
    """The options."""
    out = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    out.add_argument("--suite", choices=sorted(SUITES), default="analytic")
    out.add_argument("--peer", nargs="+", choices=list(PEERS), default=list(PEERS), help="default: all that a case names")
    out.add_argument("--case", nargs="+", metavar="NAME", help="default: the whole suite")
    out.add_argument("--repeats", type=int, help="timed turns at least (default 3)")
    out.add_argument("--budget", type=float, help="seconds a side and case, after which turns end (default 30)")
    out.add_argument("--sweep", action="store_true", help="also time against the number of inputs and the size of images")
    out.add_argument("--quick", action="store_true", help="few pairs, few turns: to try the harness")
    out.add_argument("--out", type=Path, metavar="FILE.json")
    out.add_argument("--plot", type=Path, metavar="FILE.png", help="a picture of the sweep")
    return out


def effort(options: argparse.Namespace) -> Effort:
    """How long to measure."""
    usual = Effort(2, 3.0) if options.quick else Effort()
    return Effort(options.repeats or usual.repeats, usual.budget if options.budget is None else options.budget)


def run(cases: list[Case], names: list[str], measuring: Effort) -> dict[str, Any]:
    """Measure, printing each row as it is known; returns what the JSON file holds."""
    description = machine.describe()
    load = description["load_average"]
    if load and load[0] > BUSY:
        print(f"the machine is busy (load {load[0]:.1f}): times will be too long, and not equally so for all", file=sys.stderr)
    records: list[dict[str, Any]] = []
    print(report.title(description), report.header(), sep="\n", flush=True)
    with Bench(measuring) as bench:
        for case in cases:
            for peer in [name for name in case.peers if name in names] or ([] if case.peers else [None]):
                records.append(bench.compare(case, peer) if peer else bench.alone(case))
                print(report.row(records[-1]), flush=True)
    return {"machine": description, "versions": bench.versions, "effort": asdict(measuring), "results": records}


def main(arguments: list[str] | None = None) -> int:
    """The command line; fails where a side disagrees or fails."""
    options = parser().parse_args(arguments)
    if options.plot and not options.sweep and options.suite != "sweep":
        parser().error("--plot draws the sweep: add --sweep, or --suite sweep for nothing else")
    try:
        cases = selected(options.suite, options.case, options.sweep, options.quick)
    except ValueError as error:
        parser().error(str(error))
    found = run(cases, options.peer, effort(options))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot:
        from .plot import draw

        draw(found["results"], options.plot)
    return int(any(record["status"] in ("disagrees", "failed") for record in found["results"]))


if __name__ == "__main__":
    sys.exit(main())
