"""The pages of docs/ and the README: their code runs, what they name exists, and the reference lists every public name."""

import doctest
import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import torch

import torchtangents as tt

from .test_docstrings import PUBLIC

matplotlib.use("Agg")
DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(str(p.relative_to(DOCS)) for p in DOCS.glob("**/*.md"))
README = "../README.md"
FENCE = re.compile(r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<kind>\w+)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def text(page):
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page):
    """The fenced blocks of a page that are to run: (kind, code, line)."""
    for found in FENCE.finditer(text(page)):
        if found["kind"] in ("python", "pycon") and not found["why"]:
            yield found["kind"], found["code"], text(page)[: found.start("code")].count("\n")


@pytest.mark.parametrize("page", [p for p in [README, *PAGES] if any(blocks(p))])
def test_code_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some save files
    torch.manual_seed(0)
    names = {"__name__": "__main__"}
    for kind, code, line in blocks(page):
        if kind == "python":
            exec(compile("\n" * line + code, page, "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(code, names, page, page, line)
        said = []
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        runner.run(test, out=said.append, clear_globs=False)
        names.update(test.globs)  # the parser copies them
        assert not runner.failures, "".join(said)


def test_every_guide_has_code_that_runs():
    guides = {README, "index.md", "tour.md", "concepts.md", "finite.md", "layers.md", "prediction.md"}
    assert guides <= {p for p in [README, *PAGES] if any(blocks(p))}


@pytest.mark.parametrize("page", [README, *PAGES])
def test_every_name_of_ours_exists(page):
    for path in sorted(set(re.findall(r"\btt((?:\.[A-Za-z_]\w*)+)", text(page)))):
        functools.reduce(getattr, path.strip(".").split("."), tt)


@pytest.mark.parametrize("page", [README, *PAGES])
def test_every_file_that_a_page_names_exists(page):
    for path in re.findall(r"`((?:tests|benchmarks|examples|torchtangents|docs|csrc)/[\w./-]+)`", text(page)):
        assert (DOCS.parent / path).exists(), path
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text(page)):
        assert f"def {name}(" in (DOCS.parent / path).read_text(encoding="utf-8"), name


def test_links_of_the_readme_lead_to_files():
    found = re.findall(r"\]\((?!https?:)([^)#]+)", text(README))
    assert len(found) > 15
    for path in found:
        assert (DOCS.parent / path).exists(), path


def test_the_reference_lists_every_public_name():
    listed = re.findall(r"^::: torchtangents\.([\w.]+)$", "".join(text(p) for p in PAGES), re.M)
    assert sorted(listed) == sorted(name.removeprefix("tt.") for name in PUBLIC)


def test_the_navigation_names_every_page():
    named = re.findall(r": ([\w/]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(n for n in named if n != "scale.md") == sorted(p for p in PAGES if p != "scale.md")


def script(name):
    """A Python file of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawing_shows_what_is_computed(tmp_path):
    drawings = script("drawings")
    asked = {readout: [len(planes) for *_, planes in drawings.planes_asked(readout)] for readout in ("Flatten", "GlobalAvgPool")}
    assert asked == {"Flatten": [7, 7, 7, 3, 3, 3, 1], "GlobalAvgPool": [31, 31, 31, 15, 15, 15, 7]}
    drawings.draw(tmp_path / "planes.svg")
    assert (tmp_path / "planes.svg").stat().st_size > 10_000


DOCSTRING = """A kernel K' of <x, y>, (N, *S).

K* = B K*' [1].

Args:
    x_1, x_2: numbers *a*, as
        low: as `x_*`.

        kept
    y: [0, 1].

Returns:
    (N, *O): a < b.

Someone 2018 (arXiv 1806.07572).

Example:
    >>> f(x)
    [0, 1]
"""
MARKDOWN = r"""A kernel K' of &lt;x, y&gt;, (N, \*S).

K\* = B K\*' \[1\].

Args:
    x_1, x_2: numbers \*a\*, as
        low: as `x_*`.

        kept
    y: \[0, 1\].

**Returns:**

(N, \*O): a &lt; b.

Someone 2018 ([arXiv 1806.07572](https://arxiv.org/abs/1806.07572)).

Examples:
    >>> f(x)
    [0, 1]"""


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    assert script("docstrings").as_markdown(DOCSTRING) == MARKDOWN


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_needs_no_network(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings_handlers"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=DOCS.parent, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert not done.returncode, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:src=|<link[^>]*href=)"?(?:https?:)?//', html), page.name
        shown = re.sub(r"<(pre|code|script)\b.*?</\1>", "", html, flags=re.S)
        assert not re.search(r"^\|.*\|$|^(Args|Raises|Example):", shown, re.M), f"{page.name}: a table or section left as text"
