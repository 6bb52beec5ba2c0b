"""Every notebook of examples/ runs, and is committed as a reader should find it: executed, small, and at home anywhere."""

import json
import re
from pathlib import Path

import pytest

import torchtangents

PATHS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))
BADGE = "https://colab.research.google.com/github/torchtangents/torchtangents/blob/main/examples/{}"
LARGEST = 400_000  # bytes
HERE = re.compile(r"/(?:work|root|home|tmp|Users|mnt)/\w|[A-Z]:\\\\?Users")  # directories of one machine


def source(cell):
    return "".join(cell["source"])


def texts(cell):
    """What a cell shows in words: pictures are left out, letters of which may read as anything."""
    for out in cell.get("outputs", []):
        yield "".join(out.get("text", ""))
        yield from ("".join(text) for kind, text in out.get("data", {}).items() if kind.startswith("text/"))


def problems(name, notebook):
    """What is wrong with a committed notebook."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and source(cell).strip()]
    outputs = [out for cell in code for out in cell["outputs"]]
    words = [text for cell in cells for text in (source(cell), *texts(cell))]
    first = source(code[0]) if code else ""
    if cells[0]["cell_type"] != "markdown" or not source(cells[0]).startswith("# "):
        yield "the first cell is no title"
    elif len(source(cells[0])) < 200:
        yield "the first cell does not say what the reader will get"
    if not any(BADGE.format(name) in source(cell) for cell in cells[:2]):
        yield "no Open in Colab badge"
    if not re.search(r"if .*find_spec\(.torchtangents.\) is None:\n    %pip install -q .*torchtangents", first):
        yield "the first code cell does not install the package where it is missing"
    if 'os.environ.get("TORCHTANGENTS_QUICK")' not in first:
        yield "the first code cell does not read TORCHTANGENTS_QUICK"
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        yield "not executed from top to bottom"
    if any(out["output_type"] == "error" for out in outputs):
        yield "an error in an output"
    if any(out.get("name") == "stderr" for out in outputs):
        yield "a warning or a progress bar in an output"
    if not any("image/png" in out.get("data", {}) for out in outputs):
        yield "no picture"
    if found := next((hit for text in words if (hit := HERE.search(text))), None):
        yield f"a path of one machine: {found[0]}"
    if len(json.dumps(notebook)) > LARGEST:
        yield f"larger than {LARGEST:,} bytes"


def sound():
    """A notebook without a problem."""
    install = 'import os\n\nif find_spec("torchtangents") is None:\n    %pip install -q torchtangents\nQUICK = os.environ.get("TORCHTANGENTS_QUICK")'
    title = {"cell_type": "markdown", "source": ["# A title\n", BADGE.format("a.ipynb"), "." * 200]}
    picture = {"output_type": "display_data", "data": {"image/png": "/tmp/xx", "text/plain": ["a figure"]}}
    code = {"cell_type": "code", "source": [install], "execution_count": 1, "outputs": [picture]}
    return {"cells": [title, code]}


TAMPERED = {
    "the first cell is no title": lambda title, code: title.update(source=["no title"]),
    "the first cell does not say what the reader will get": lambda title, code: title.update(source=["# A title"]),
    "no Open in Colab badge": lambda title, code: title.update(source=["# A title" + "." * 200]),
    "the first code cell does not install the package where it is missing": lambda title, code: code.update(
        source=['os.environ.get("TORCHTANGENTS_QUICK")']
    ),
    "the first code cell does not read TORCHTANGENTS_QUICK": lambda title, code: code.update(source=["import os"]),
    "not executed from top to bottom": lambda title, code: code.update(execution_count=7),
    "an error in an output": lambda title, code: code["outputs"].append({"output_type": "error"}),
    "a warning or a progress bar in an output": lambda title, code: code["outputs"].append(
        {"output_type": "stream", "name": "stderr", "text": "!"}
    ),
    "no picture": lambda title, code: code["outputs"].clear(),
    "a path of one machine: /tmp/x": lambda title, code: code["outputs"].append(
        {"output_type": "stream", "name": "stdout", "text": ["/tmp/x"]}
    ),
    "larger than 400,000 bytes": lambda title, code: code["outputs"].append(
        {"output_type": "stream", "name": "stdout", "text": "." * LARGEST}
    ),
}


@pytest.mark.parametrize("problem", TAMPERED)
def test_problems_are_found(problem):
    notebook = sound()
    assert list(problems("a.ipynb", notebook)) == []
    TAMPERED[problem](*notebook["cells"])
    assert problem in list(problems("a.ipynb", notebook))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_committed(path):
    assert list(problems(path.name, json.loads(path.read_text()))) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_runs(path, tmp_path, monkeypatch):
    """At the reduced sizes, in a process and a directory of its own, as `pytest --nbmake` does it."""
    run = pytest.importorskip("nbmake.nb_run")
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    settings = {"TORCHTANGENTS_QUICK": "1", "OMP_NUM_THREADS": "1"}
    for name, value in (settings | {"PYTHONPATH": str(Path(torchtangents.__file__).parents[1])}).items():
        monkeypatch.setenv(name, value)
    error = run.NotebookRun(copy, default_timeout=300).execute().error
    assert error is None, f"cell {error.failing_cell_index}:\n{error.trace}"
