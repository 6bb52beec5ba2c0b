"""A side as the comparing process sees it: a worker that is asked and answers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from . import environments, peers

ROOT = Path(__file__).resolve().parent.parent
START = "import sys; sys.path.append(sys.argv[1]); from benchmarks.worker import main; main(sys.argv[2])"


class SideError(RuntimeError):
    """A side that answered with an error, died, or did not answer in time."""


class NotInstalled(SideError):
    """A side whose libraries are not here."""


class Side:
    """A worker process, warm until it is closed.

    It runs in the temporary folder that its files lie in, and finds this library as any program does: an installed copy or the
    one on PYTHONPATH first, the source tree last. A side with an environment of its own sees no PYTHONPATH.

    Args:
        name: as in `benchmarks/peers`.
        limit: seconds to wait for an answer.
    """

    def __init__(self, name: str, limit: float = 900.0):
        self.name, self.limit = name, limit
        environment = peers.module(name).ENVIRONMENT
        python = environments.interpreter(environment)
        if python is None:
            raise NotInstalled(f"not installed: python -m benchmarks.environments {environment}")
        self.temporary = tempfile.TemporaryDirectory(prefix="benchmarks-")
        self.folder = Path(self.temporary.name)
        self.log = open(self.folder / "log.txt", "w+")  # noqa: SIM115  (closed in `close`)
        self.process = subprocess.Popen(
            [python, "-c", START, str(ROOT), name], cwd=self.folder, env=_variables(own=environment is not None), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        try:
            self.versions: dict[str, str] = self.ask("describe")["versions"]
        except BaseException as error:
            self.close()
            if "ModuleNotFoundError" in str(error):
                raise NotInstalled(f"not installed: {error}") from error
            raise

    def ask(self, verb: str, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        too_late = threading.Event()
        clock = threading.Timer(self.limit, lambda: (too_late.set(), self.process.kill()))
        clock.start()
        try:
            self.process.stdin.write(json.dumps({"do": verb, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            clock.cancel()
        if not line:
            why = f"gave no answer in {self.limit:g} s" if too_late.is_set() else f"died: {self._last_words()}"
            raise SideError(f"{self.name} {why}")
        answer = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.name}: {answer['error']}")
        return answer

    def prepare(self, net: tuple, x1: np.ndarray, x2: np.ndarray | None, outputs: tuple[str, ...]) -> None:
        """Hand over the inputs, x2 None where it is x1; nothing is computed yet."""
        second = None if x2 is None else self._file("x2", x2)
        self.ask("prepare", net=net, x1=self._file("x1", x1), x2=second, outputs=outputs)

    def run(self) -> dict[str, float]:
        """Compute once: {"seconds", "memory_mib"}."""
        return self.ask("run")

    def answer(self) -> list[np.ndarray]:
        """What the last run computed."""
        return [np.load(file) for file in self.ask("save", folder=str(self.folder))["files"]]

    def diagonal(self, net: tuple, x: np.ndarray) -> list[np.ndarray]:
        """NNGP and NTK of every input with itself; only this library's side knows."""
        return [np.load(file) for file in self.ask("diagonal", net=net, x=self._file("x", x), folder=str(self.folder))["files"]]

    def close(self) -> None:
        """End the process, by force if it does not end by itself, and remove its files."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
        self.temporary.cleanup()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _file(self, name: str, x: np.ndarray) -> str:
        file = self.folder / f"{name}.npy"
        np.save(file, x)
        return str(file)

    def _last_words(self) -> str:
        self.process.wait()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return f"exit status {self.process.returncode}" + (f", {lines[-1]}" if lines else "")


def _variables(own: bool) -> dict[str, str]:
    """The environment variables of a worker: CPU only, and paths that hold from another folder."""
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    path = variables.pop("PYTHONPATH", "")
    if path and not own:
        variables["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep) if part)
    return variables
