"""How objects show themselves: a line or a table in text, the same as HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Row = Sequence[object]


def text_table(header: Row, rows: Sequence[Row], numbers: Sequence[int] = ()) -> str:
    """Columns aligned with two spaces between; those in `numbers` to the right."""
    cells = [[str(c) for c in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        aligned = (c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def html_table(header: Row, rows: Sequence[Row], numbers: Sequence[int] = (), caption: str = "") -> str:
    """The same as HTML, escaped."""

    def line(row: Row, tag: str) -> str:
        sides = ("right" if i in numbers else "left" for i in range(len(row)))
        return (
            "<tr>"
            + "".join(f'<{tag} style="text-align:{s}">{escape(str(c))}</{tag}>' for c, s in zip(row, sides, strict=True))
            + "</tr>"
        )

    head = f"<thead>{line(header, 'th')}</thead>" if header else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<table>{f'<caption>{escape(caption)}</caption>' if caption else ''}{head}<tbody>{body}</tbody></table>"


class Shown:
    """An object that is shown by its facts: one line of text, a table of two columns in a notebook."""

    def _facts(self) -> dict[str, object]:
        """Names and values, short."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._facts().items())})"

    def _repr_html_(self) -> str:
        return html_table((), list(self._facts().items()), caption=type(self).__name__)
