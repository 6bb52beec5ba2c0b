"""Our docstrings are plain text, as help() shows it: their formulas are escaped here before Markdown reads them.

An extension of griffe, which mkdocs.yml names; no page.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Example):$")
_ITEM = re.compile(r"( {4}(?=\S)[\w\[\]. ,*]+:)(\s.*|)$")
_SPECIAL = re.compile(r"(`[^`]*`)|([\\*_\[\]])|([&<>])")
_ARXIV = re.compile(r"\barXiv (\d{4}\.\d{5})\b")
_ENTITY = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class PlainText(griffe.Extension):
    """Escapes what Markdown would take for markup, and names sections as griffe does."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """The docstring with everything escaped that is no code and no name of a parameter; papers are links."""
    lines, section = [], ""
    for line in text.splitlines():
        found = _SECTION.match(line)
        if found:
            section = found[1]
            lines.append({"Example": "Examples:", "Returns": "**Returns:**\n"}.get(section, line))
        elif section == "Example" and (line.startswith(" ") or not line):
            lines.append(line)
        elif section == "Returns" and line.startswith("    "):
            lines.append(_escaped(line[4:]))
        elif line.startswith(" ") and section in ("Args", "Attributes", "Raises"):
            item = _ITEM.match(line)
            lines.append(item[1] + _escaped(item[2]) if item else _escaped(line))
        else:
            section = "" if line else section
            lines.append(line if line.startswith("    ") else _escaped(line))
    return "\n".join(lines)


def _escaped(text: str) -> str:
    plain = _SPECIAL.sub(lambda m: m[1] or ("\\" + m[2] if m[2] else _ENTITY[m[3]]), text)
    return _ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", plain)
