"""The tables of the documentation are those of the committed results."""

import pytest

from benchmarks import page


@pytest.mark.parametrize("path", page.PAGES, ids=lambda p: p.name)
def test_pages_hold_what_the_results_say(path):
    text = path.read_text(encoding="utf-8")
    assert page.filled(text) == text, "run python -m benchmarks.page"


def test_every_table_is_on_a_page():
    found = [name for path in page.PAGES for _, name, _ in page.SLOT.findall(path.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(page.TABLES)


def test_a_changed_table_is_written_anew():
    text = "before\n<!-- table: gpytorch -->\nstale\n<!-- end -->\nafter\n"
    new = page.filled(text)
    assert "stale" not in new
    assert new.startswith("before\n")
    assert new.endswith("<!-- end -->\nafter\n")
    assert page.filled(new) == new


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.35e-3, "4.3 ms"), (2.69, "2.7 s"), (9.2e-9, "9.2 ns"), (1.5e-7, "150 ns"), (1.01e-3, "1.0 ms"), (43.0, "43.0 s")],
)
def test_times_are_read_in_their_unit(value, text):
    assert page.duration(value) == text


@pytest.mark.parametrize("picture", page.PICTURES)
def test_the_pictures_are_those_of_the_results(picture):
    assert (page.ROOT / "docs" / picture).read_bytes() == (page.RESULTS / picture).read_bytes()
