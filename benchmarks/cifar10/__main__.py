"""`python -m benchmarks.cifar10 --data PATH`: accuracy and log likelihood on CIFAR-10 against the number of training images.

Every model is a fixed architecture (w_std = sqrt 2, b_std = 0.1; benchmarks/architectures.py): nothing is tuned but the
regulariser and the temperature, by leave-one-out on the training set (`evaluate`). Work is done cheapest first; kernels stay in
--store and rows in --out, and the same command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import astuple
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import machine
from . import evaluate, finite, plot, results
from .data import Images, load
from .kernels import KINDS, StoredKernel, Work
from .models import MODELS
from .plan import QUICK, Plan
from .preprocess import EPSILON, FITS
from .results import Key, Row

OUT = Path(__file__).resolve().parent.parent / "results"
FINITE_COST = 1.0  # milliseconds an image and step, for the order of work
FINITE = "finite-cnn"
ZCA_SIZES = 1280  # beyond it standardised channels only


class Job(NamedTuple):
    """One training set of one model; both kernels."""

    model: str
    preprocessing: str
    size: int
    subset: int

    def seconds(self, plan: Plan) -> float:
        """What it would take with nothing stored."""
        if self.model == FINITE:
            steps = max(finite.EPOCHS * self.size // finite.BATCH, finite.LEAST_STEPS)
            return 1e-3 * FINITE_COST * steps * min(self.size, finite.BATCH)
        return 1e-3 * MODELS[self.model].milliseconds * plan.pairs(self.size, self.subset)

    def rows(self) -> list[Key]:
        """Of its rows."""
        kernels = ("finite",) if self.model == FINITE else KINDS
        return [Key(self.model, kernel, self.preprocessing, self.size, self.subset) for kernel in kernels]


def jobs(plan: Plan, options: argparse.Namespace) -> list[Job]:
    """All that was asked for, cheapest first; sizes asked for by name are not limited."""
    wrong = [size for size in options.sizes or () if not 0 < size <= plan.full]
    if wrong or (options.subsets is not None and options.subsets < 1):
        got = wrong or options.subsets
        raise SystemExit(f"--sizes, --subsets: expected 1 .. {plan.full} images and at least one subset, got {got}")
    found = []
    for model in options.only:
        for preprocessing in options.preprocess:
            for size in options.sizes or plan.sizes:
                limit = plan.full if model == FINITE or options.devices else MODELS[model].largest
                limit = min(limit, ZCA_SIZES) if preprocessing == "zca" else limit
                if (size <= limit or options.sizes) and not (preprocessing == "zca" and model == FINITE):
                    repeats = min(plan.repeats(size), options.subsets or plan.subsets)
                    found += [Job(model, preprocessing, size, subset) for subset in range(repeats)]
    return sorted(found, key=lambda job: job.seconds(plan))


class Experiment:
    """The images as tensors, and stored kernels, which models share between training sets."""

    def __init__(self, images: Images, plan: Plan, options: argparse.Namespace):
        self.plan, self.store = plan, options.store / images.fingerprint()
        self.quick, self.devices = options.quick, options.devices
        self.y, self.y_test = (torch.from_numpy(y).long() for y in (images.y_train, images.y_test))
        self.x, self.x_test = torch.from_numpy(images.x_train), torch.from_numpy(images.x_test)
        self.inputs: dict[str, tuple[Tensor, Tensor]] = {}
        self.kernels: dict[tuple[str, str], StoredKernel] = {}

    def rows(self, job: Job, done: set[Key]) -> Iterator[Row]:
        """Predict and score what is not done."""
        images = self.plan.images(job.size, job.subset)
        x, x_test = self.seen(job.preprocessing)
        for key in job.rows():
            if key in done:
                continue
            if job.model == FINITE:
                found = finite.train(x[images], self.y[images], x_test, job.subset, 5 if self.quick else None)
                chosen_by = finite.CHOSEN_BY
            else:
                stored = self._stored(job)
                train, test = stored.train(images, key.kernel), stored.test(images, key.kernel)
                found, chosen_by = evaluate.predict(train, self.y[images], test), evaluate.CHOSEN_BY
            score = evaluate.score(found.log_p, self.y_test)
            numbers = (found.diag_reg, found.temperature, chosen_by, len(self.y_test))
            yield Row(*astuple(key), *score, *numbers)

    def seen(self, preprocessing: str) -> tuple[Tensor, Tensor]:
        """Training and test images as the networks see them."""
        if preprocessing not in self.inputs:
            transform = FITS[preprocessing](self.x)
            self.inputs[preprocessing] = transform(self.x), transform(self.x_test)
        return self.inputs[preprocessing]

    def work(self) -> dict[str, Any]:
        """For each stored kernel the entries computed in this run, and the processor's seconds."""
        done = {f"{model}, {seen}": kernel.work for (model, seen), kernel in self.kernels.items() if kernel.work != Work()}
        return {name: {"pairs": work.pairs, "cpu_seconds": round(work.cpu_seconds, 1)} for name, work in done.items()}

    def _stored(self, job: Job) -> StoredKernel:
        name = job.model, job.preprocessing
        if name not in self.kernels:
            net, folder = MODELS[job.model].build(), self.store.joinpath(*name)
            self.kernels[name] = StoredKernel(net, *self.seen(job.preprocessing), folder, self.plan, self.devices)
        return self.kernels[name]


def main(arguments: list[str] | None = None) -> None:
    """Do what is missing, then write the table and the picture."""
    options = _options(arguments)
    plan = QUICK if options.quick else Plan()
    images = load(options.data).drawn(plan.full, plan.test)
    options.out.mkdir(parents=True, exist_ok=True)
    rows_at, record_at, picture_at = (options.out / f"cifar10.{kind}" for kind in ("csv", "json", "png"))
    shared = {"data": images.fingerprint(), "plan": plan.identity()}
    words = sys.argv[1:] if arguments is None else map(str, arguments)
    command = " ".join(
        ["python -m benchmarks.cifar10", *(Path(w).name if "/" in w else w for w in words)]
    )  # no machine's folders
    about = {"command": command, "machine": machine.describe(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    about |= {"zca_epsilon": EPSILON}
    record = results.Record(record_at, shared, {**about, "started": _now()})
    done = {row.key for row in results.read(rows_at)}
    experiment = Experiment(images, plan, options)
    for job in jobs(plan, options):
        if done.issuperset(job.rows()):
            continue
        try:
            for row in experiment.rows(job, done):
                results.append(rows_at, row)
                what = f"{row.model} {row.kernel} {row.preprocessing} {row.size} {row.subset}"
                print(f"{_now()} {what}: {row.accuracy:.3f}, {row.log_likelihood:.3f}", flush=True)
        finally:
            record.save(work=experiment.work(), finished=_now())
    rows = results.read(rows_at)
    if rows:
        print(plot.table(rows))
        plot.draw(rows, picture_at)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="an .npz file, or the folder cifar-10-batches-py")
    parser.add_argument("--store", type=Path, default=Path("cifar10-kernels"), help="folder of the stored kernels")
    parser.add_argument("--out", type=Path, default=None, help="folder of cifar10.csv, .json and .png")
    parser.add_argument("--only", nargs="+", choices=[*MODELS, FINITE], default=[*MODELS, FINITE], metavar="MODEL")
    parser.add_argument("--sizes", nargs="+", type=int, default=None, help="training images; by default what a CPU has time for")
    parser.add_argument("--devices", nargs="+", default=None, help="GPUs, e.g. cuda:0; then models go to the largest size")
    parser.add_argument("--subsets", type=int, default=None, help="at most so many training sets of a size")
    parser.add_argument("--preprocess", nargs="+", choices=list(FITS), default=list(FITS))
    parser.add_argument("--quick", action="store_true", help="a few images: to try the harness")
    options = parser.parse_args(arguments)
    options.out = options.out or (options.store if options.quick else OUT)
    return options


if __name__ == "__main__":
    main()
