"""The pages of docs/: their code runs, what they name exists, and the reference lists every public name."""

import doctest
import functools
import re
from pathlib import Path

import matplotlib
import pytest
import torch

import torchtangents as tt

from .test_docstrings import PUBLIC

matplotlib.use("Agg")
DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(str(p.relative_to(DOCS)) for p in DOCS.glob("**/*.md"))
FENCE = re.compile(r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<kind>\w+)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def text(page):
    return (DOCS / page).read_text(encoding="utf-8")


def blocks(page):
    """The fenced blocks of a page that are to run: (kind, code, line)."""
    for found in FENCE.finditer(text(page)):
        if found["kind"] in ("python", "pycon") and not found["why"]:
            yield found["kind"], found["code"], text(page)[: found.start("code")].count("\n")


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p))])
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
    assert {"index.md", "tour.md", "concepts.md", "finite.md", "layers.md", "prediction.md"} <= {
        p for p in PAGES if any(blocks(p))
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_name_of_ours_exists(page):
    for path in sorted(set(re.findall(r"\btt((?:\.[A-Za-z_]\w*)+)", text(page)))):
        functools.reduce(getattr, path.strip(".").split("."), tt)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page):
    for path in re.findall(r"`((?:tests|benchmarks|examples|torchtangents|docs|csrc)/[\w./-]+)`", text(page)):
        assert (DOCS.parent / path).exists(), path
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text(page)):
        assert f"def {name}(" in (DOCS.parent / path).read_text(encoding="utf-8"), name


def test_the_reference_lists_every_public_name():
    listed = re.findall(r"^::: torchtangents\.([\w.]+)$", "".join(text(p) for p in PAGES), re.M)
    assert sorted(listed) == sorted(name.removeprefix("tt.") for name in PUBLIC)


def test_the_navigation_names_every_page():
    named = re.findall(r": ([\w/]+\.md)$", (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(n for n in named if n != "scale.md") == sorted(p for p in PAGES if p != "scale.md")
