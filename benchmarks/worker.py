"""The process of one side: reads requests as JSON lines on its standard input, answers each with one line on its standard output.

    {"do": "describe"}                                             -> {"versions": {..}}
    {"do": "prepare", "net": .., "x1": FILE, "x2": FILE or null, "outputs": ["nngp", "ntk"]}   -> {}
    {"do": "run"}                                                  -> {"seconds": .., "memory_mib": ..}
    {"do": "save", "folder": FOLDER}                               -> {"files": [FILE.npy, ..]}, what the last run gave
    {"do": "diagonal", "net": .., "x": FILE, "folder": FOLDER}     -> {"files": [nngp.npy, ntk.npy]}, of this library only

A request that fails is answered by {"error": "TypeError: .."}.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import numpy as np

from . import peers


class Worker:
    """What one side was asked to compute, and its last answer."""

    def __init__(self, side: ModuleType):
        self.side = side
        self.compute: Callable[[], tuple] | None = None
        self.answer: tuple = ()
        self.before = 0.0

    def describe(self) -> dict[str, Any]:
        """Import the libraries and say which they are."""
        return {"versions": self.side.versions()}

    def prepare(self, net: list, x1: str, x2: str | None, outputs: list[str]) -> dict[str, Any]:
        """Load the inputs and make the function to time; memory is counted from here."""
        self.answer = ()
        self.compute = self.side.prepare(net, np.load(x1), None if x2 is None else np.load(x2), tuple(outputs))
        self.before = peak_memory()
        return {}

    def run(self) -> dict[str, Any]:
        """Compute once."""
        if self.compute is None:
            raise RuntimeError("expected 'prepare' before 'run'")
        self.answer = ()
        start = time.perf_counter()
        self.answer = self.compute()
        return {"seconds": time.perf_counter() - start, "memory_mib": peak_memory() - self.before}

    def save(self, folder: str) -> dict[str, Any]:
        """Write the last answer, one file for each output."""
        return {"files": _written(self.answer, Path(folder), "output")}

    def diagonal(self, net: list, x: str, folder: str) -> dict[str, Any]:
        """Write NNGP and NTK of every input with itself."""
        return {"files": _written(self.side.diagonal(net, np.load(x)), Path(folder), "diagonal")}

    def reply(self, line: str) -> str:
        """Carry out one request."""
        try:
            request = json.loads(line)
            verb = request.pop("do")
            if verb not in ("describe", "prepare", "run", "save", "diagonal"):
                raise ValueError(f"expected describe, prepare, run, save or diagonal, got {verb!r}")
            return json.dumps(getattr(self, verb)(**request))
        except Exception as error:
            return json.dumps({"error": f"{type(error).__name__}: {error}"})


def peak_memory() -> float:
    """The most memory that this process has had resident, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def serve(side: ModuleType, requests: TextIO, replies: TextIO) -> None:
    """Answer until the requests end."""
    worker = Worker(side)
    for line in requests:
        replies.write(worker.reply(line) + "\n")
        replies.flush()


def main(name: str) -> None:
    """Serve one side by name; what its libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(peers.module(name), sys.stdin, replies)


def _written(arrays: tuple, folder: Path, stem: str) -> list[str]:
    files = [folder / f"{stem}-{i}.npy" for i in range(len(arrays))]
    for file, array in zip(files, arrays, strict=True):
        np.save(file, np.asarray(array))
    return [str(file) for file in files]
