"""`python -m benchmarks.page`: the tables of the documentation, written from `benchmarks/results/*.json`.

A page holds a table between `<!-- table: NAME -->` and `<!-- end -->`; a test compares it with the results.
"""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from .cases import EMPIRICAL
from .diabetes import Score
from .diabetes import table as diabetes_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", *(ROOT / "docs" / name for name in ("performance.md", "prediction.md", "scale.md", "cifar10.md")))
PICTURES = ("cifar10.png", "sweep.png")
SLOT = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)

NETWORKS = {
    "cnn21-gap": "CNN, 21 layers, global pooling",
    "cnn21-flatten": "CNN, 21 layers, Flatten",
    "cnn-two-pools-flatten": "CNN, 2 layers, each with a 2x2 pool, Flatten",
    "myrtle5": "Myrtle-5",
    "myrtle10": "Myrtle-10",
    "wideresnet-n1": "WideResNet, one block a group",
    "wideresnet-n4": "WideResNet, four blocks a group",
    "fc3": "fully connected, 3 hidden layers",
    "fc10": "fully connected, 10 hidden layers",
    "fc10-duplicates": "the same, a tenth of the inputs twice",
    "cnn21-gap-64": "CNN, 21 layers, global pooling, 3 x 64 x 64",
    "empirical-fc4096": "finite, fully connected, 3 x 4,096: the empirical NTK",
    "empirical-fc1024": "fully connected, 3 x 1,024",
    "empirical-cnn": "CNN, 4 layers of 64 channels",
    "empirical-resnet18": "ResNet-18",
    "empirical-vit-tiny": "ViT-tiny",
    "empirical-vit-tiny-same": "ViT-tiny, x2=None",
}
CASES = {case.name: case for case in EMPIRICAL}
PEERS = {
    "torch-func": "Jacobian contraction (torch.func)",
    "torch-func-vp": "NTK-vector products (torch.func)",
    "neural-tangents-empirical": "neural-tangents, structured derivatives",
}


def load(name: str) -> dict[str, Any]:
    """One file of results."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def machine(found: dict[str, Any]) -> str:
    """What it ran on, in a line."""
    m, versions = found["machine"], {}
    for of_side in found["versions"].values():
        versions |= of_side if isinstance(of_side, dict) else {}
    named = [f"{k} {versions[k]}" for k in ("torch", "neural-tangents", "jax", "botorch") if k in versions]
    sets, cpu = ", ".join(m["instruction_sets"]), m["cpu"].replace("(R)", "")
    return (
        f"*{m['cores']} cores of an {cpu} ({sets}), {m['memory_gib']:.0f} GiB; "
        f"{', '.join(named)}; {m['date'][:10]}, commit {m['commit'][:8]}, load {m['load_average'][0]:.1f} at the start.*"
    )


def number(value: float) -> str:
    """Two or three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:#.2g}"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    unit, size = next(((u, s) for u, s in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)) if seconds >= 0.9995 * s), ("ns", 1e-9))
    return f"{number(seconds / size)} {unit}"


def timed(found: dict[str, Any], *peers: str) -> list[dict[str, Any]]:
    """The records beside these peers."""
    return [r for r in found["results"] if r["peer"] in peers and r["status"] == "timed"]


def analytic(peer: str, results: str | None = None) -> str:
    """Kernels of infinite width beside one peer."""
    found = load(results or peer)
    rows = [
        f"| network | ours, an entry | {peer} | ratio | entries each | memory, MiB | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in timed(found, peer):
        o, t = r["ours"], r["theirs"]
        rows.append(
            f"| {NETWORKS[r['case']]} | {duration(o['seconds_per_entry'])} | {duration(t['seconds_per_entry'])} | "
            f"{number(r['ratio'])} | {_size(o)}, {_size(t)} | {o['memory_mib']:,.0f}, {t['memory_mib']:,.0f} | {r['error']:.0e} |"
        )
    return "\n".join((*rows, "", machine(found)))


def empirical() -> str:
    """Kernels of finite networks beside torch's recipes and neural-tangents."""
    found = load("empirical")
    rows = ["| network, inputs | beside | ours | theirs | ratio | memory, MiB |", "|---|---|---|---|---|---|"]
    for r in found["results"]:
        if r["peer"] is None:
            continue
        if r["status"] != "timed":
            why = "out of memory" if "allocate" in r["reason"] else "failed"
            rows.append(f"| {NETWORKS[r['case']]}, {CASES[r['case']].ours[0]} | {PEERS[r['peer']]} | – | {why} | – | – |")
            continue
        o, t = r["ours"], r["theirs"]
        rows.append(
            f"| {NETWORKS[r['case']]}, {o['pairs'][0]} | {PEERS[r['peer']]} | {duration(o['median_seconds'])} | "
            f"{duration(t['median_seconds'])} | {number(r['ratio'])} | {o['memory_mib']:,.0f}, {t['memory_mib']:,.0f} |"
        )
    return "\n".join((*rows, "", machine(found)))


def gpytorch() -> str:
    """A GPyTorch kernel beside BoTorch's."""
    found = load("gpytorch")
    rows = ["| covariance of | ours | BoTorch's | ratio |", "|---|---|---|---|"]
    for r in timed(found, "botorch"):
        depth, what, n = re.fullmatch(r"gp-relu(\d)-(\w+)-(\d+)", r["case"]).groups()  # type: ignore[union-attr]
        more = "" if what == "forward" else ", with derivatives by hyperparameters"
        o, t = r["ours"]["median_seconds"], r["theirs"]["median_seconds"]
        layers = "1 hidden layer" if depth == "1" else f"{depth} hidden layers"
        rows.append(f"| {int(n):,} points, {layers}{more} | {duration(o)} | {duration(t)} | {number(r['ratio'])} |")
    return "\n".join((*rows, "", machine(found)))


def alone() -> str:
    """Cases without a peer."""
    rows = ["| network | entries | ours | an entry | memory, MiB |", "|---|---|---|---|---|"]
    for r in [r for name in ("neural-tangents", "empirical") for r in load(name)["results"] if r["peer"] is None]:
        o = r["ours"]
        times = f"{duration(o['median_seconds'])} | {duration(o['seconds_per_entry'])}"
        rows.append(f"| {NETWORKS[r['case']]} | {_size(o)} | {times} | {o['memory_mib']:,.0f} |")
    return "\n".join(rows)


SHORT = {
    "neural-tangents": ("cnn21-gap", "cnn21-flatten", "wideresnet-n1", "myrtle10", "fc10"),
    "empirical": ("empirical-resnet18",),
}


def speed() -> str:
    """A few rows of both for the front page."""
    rows = ["| kernel | beside | ours | theirs | ratio | memory, MiB |", "|---|---|---|---|---|---|"]
    for name, cases in SHORT.items():
        for r in timed(load(name), "neural-tangents", "torch-func"):
            if r["case"] in cases:
                o, t, whole = r["ours"], r["theirs"], name == "empirical"
                what = "median_seconds" if whole else "seconds_per_entry"
                peer, unit = ("torch.func", f"empirical, {o['pairs'][0]} images") if whole else ("neural-tangents", "an entry")
                rows.append(
                    f"| {NETWORKS[r['case']]}, {unit} | {peer} | {duration(o[what])} | {duration(t[what])} | "
                    f"{number(r['ratio'])} | {o['memory_mib']:,.0f}, {t['memory_mib']:,.0f} |"
                )
    return "\n".join(rows)


def scale() -> str:
    """What stored kernels promise, and solving them."""
    runs, solved = load("scale"), load("solve")
    rows = ["| run | promise | kept | seconds |", "|---|---|---|---|"]
    for name, run in runs.items():
        seconds = f"{run['seconds']:.1f}" if "seconds" in run else ""
        if "solve_seconds" in run:
            seconds += f", solved in {run['solve_seconds']:.1f}"
        rows.append(f"| `{name}`, {run['inputs']:,} inputs | {run['promise']} | {'yes' if run['kept'] else 'no'} | {seconds} |")
    rows += [
        "",
        f"{solved['n']:,} images of CIFAR-10, diag_reg {solved['diag_reg']}, residuals of at most {solved['tolerance']}:",
        "",
    ]
    rows += ["| method | seconds | iterations | predictions differ from Cholesky's by |", "|---|---|---|---|"]
    for name, run in solved["results"].items():
        apart = f"{run['difference']:.0e}" if "difference" in run else ""
        rows.append(f"| {name} | {run['seconds']:.1f} | {run['iterations'] or ''} | {apart} |")
    return "\n".join((*rows, "", machine({"machine": runs["fc3"]["machine"], "versions": {"ours": solved["versions"]}})))


def cifar10() -> str:
    """Accuracy and log likelihood against the number of training images."""
    from .cifar10.plot import table
    from .cifar10.results import read

    return table(read(RESULTS / "cifar10.csv"))


def diabetes() -> str:
    """Regression beside GPyTorch's kernels."""
    scores = {model: [Score(**s) for s in found] for model, found in load("diabetes")["results"].items()}
    return diabetes_table(scores)


TABLES = {
    "neural-tangents": partial(analytic, "neural-tangents"),
    "neural-tangents-amd": partial(analytic, "neural-tangents", "neural-tangents-amd"),
    "reference": partial(analytic, "reference"),
    "empirical": empirical,
    "gpytorch": gpytorch,
    "alone": alone,
    "speed": speed,
    "scale": scale,
    "cifar10": cifar10,
    "diabetes": diabetes,
}


def filled(text: str) -> str:
    """A page with its tables written anew."""
    return SLOT.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]().strip()}\n\n{m[3]}", text)


def _size(side: dict[str, Any]) -> str:
    return f"{side['pairs'][0]:,}x{side['pairs'][1]:,}"


if __name__ == "__main__":
    for picture in PICTURES:
        shutil.copyfile(RESULTS / picture, ROOT / "docs" / picture)
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
