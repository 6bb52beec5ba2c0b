"""Every public name says what it is, what it takes, what it raises and where it comes from, and shows itself at work."""

import inspect
import re
from pathlib import Path

import pytest
import torch

import torchtangents as tt

ROOT = Path(__file__).parent.parent
MODULES = {
    "tt": tt,
    "tt.nn": tt.nn,
    "tt.predict": tt.predict,
    "tt.gp": tt.gp,
    "tt.empirical": tt.empirical,
    "tt.plot": tt.plot,
    "tt.scale": tt.scale,
}
REFUSES = re.compile(r"\braise |refuse\(|held\(|check|Law\(")  # what a function or constructor of ours does with bad input


def public(module):
    """The classes and functions that a module offers."""
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    found = {name: getattr(module, name) for name in names}
    return {
        name: value
        for name, value in found.items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("torchtangents")
    }


PUBLIC = {f"{path}.{name}": value for path, module in MODULES.items() for name, value in public(module).items()}
RECORDS = [n for n, v in PUBLIC.items() if inspect.isclass(v) and (hasattr(v, "_fields") or hasattr(v, "__dataclass_fields__"))]
MADE_INSIDE = [
    "tt.State",
    "tt.UnsupportedError",
    "tt.predict.SingularKernelError",
    "tt.predict.JitterWarning",
    "tt.scale.Handle",
    "tt.scale.Ridge",
    "tt.scale.ConvergenceError",
]  # no constructor to call
HIDDEN = {"self", "args", "kwargs", "min_value", "max_value"}  # torch's own, two of them deprecated
CALLABLE = [n for n in PUBLIC if n not in RECORDS and n not in MADE_INSIDE]


def documentation(value):
    return inspect.cleandoc(value.__doc__ or "")


def section(text, title):
    """The indented lines under a title."""
    found = re.search(rf"^{title}:\n((?: {{4}}.*\n?|\n)+)", text, re.M)
    return found[1] if found else ""


def items(text):
    """The names in front of a section's colons, with the stars of *args left out."""
    heads = re.findall(r"^ {4}(?=\S)([\w\[\]. ,*]+):(?:\s|$)", text, re.M)
    return [name.strip(" *") for head in heads for name in head.split(",")]


def parameters(value):
    """What the function, or the constructor of the first class that names any, takes."""
    if inspect.isfunction(value):
        return list(inspect.signature(value).parameters)
    for base in value.__mro__:
        if "__init__" in vars(base) and base is not torch.nn.Module and base is not object:
            found = inspect.signature(base.__init__).parameters.values()
            return [p.name for p in found if p.name not in HIDDEN]
    return []


def own_code(value):
    """The source of a function, or of a class and of the constructor that it inherits from ours, without strings."""
    made = [value] if inspect.isfunction(value) else [value, *(b for b in value.__mro__ if "__init__" in vars(b))][:2]
    code = "".join(inspect.getsource(v) for v in made if v.__module__.startswith("torchtangents"))
    return re.sub(r'""".*?"""', "", code, flags=re.S)


@pytest.mark.parametrize("name", PUBLIC)
def test_the_first_line_says_what_it_is(name):
    first, *rest = documentation(PUBLIC[name]).splitlines()
    assert len(first) > 5
    assert first[-1] in ".:"
    assert not rest or not rest[0], "the summary is one line"


@pytest.mark.parametrize("name", PUBLIC)
def test_it_shows_itself_at_work(name):
    assert ">>>" in section(documentation(PUBLIC[name]), "Example")


@pytest.mark.parametrize("name", CALLABLE)
def test_every_parameter_is_named_once_and_no_other(name):
    assert sorted(items(section(documentation(PUBLIC[name]), "Args"))) == sorted(parameters(PUBLIC[name]))


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_is_named(name):
    value = PUBLIC[name]
    fields = [f for f in getattr(value, "_fields", None) or value.__dataclass_fields__ if not f.startswith("_")]
    assert sorted(items(section(documentation(value), "Attributes"))) == sorted(fields)


@pytest.mark.parametrize("name", CALLABLE)
def test_what_it_raises_is_said_or_it_raises_nothing(name):
    value = PUBLIC[name]
    said = section(documentation(value), "Raises")
    for error in items(said):
        assert error in ("UnsupportedError", "SingularKernelError", "ConvergenceError") or issubclass(
            getattr(__import__("builtins"), error), Exception
        )
    if not said:
        assert not REFUSES.search(own_code(value))


def test_a_paper_has_one_author_and_one_year():
    """A wrong number would be another paper's, or stand beside another name."""
    cited = {}
    for path in [*ROOT.glob("torchtangents/**/*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md"]:
        text = " ".join(path.read_text(encoding="utf-8").split())
        pattern = r"([A-Z][\w'-]+)((?:,? (?:et al\.|and|van der|[A-Z][\w'-]+),?)*) (\d{4}) \((?:[^()]*, )?arXiv (\d{4}\.\d{4,5})"
        for author, _, year, number in re.findall(pattern, text):
            cited.setdefault(number, {}).setdefault((author, year), []).append(path.name)
    assert len(cited) > 30
    for number, by in cited.items():
        assert len(by) == 1, f"arXiv {number}: {by}"
        assert re.fullmatch(r"\d{2}(0[1-9]|1[0-2])\.\d{4,5}", number)
        (_, year), *_ = by
        assert 0 <= int(year) - 2000 - int(number[:2]) <= 3, f"arXiv {number} is not of {year}"
